/*
 * The table of all settings (see settings.h). No include guard: it is included
 * once per use. A setting's documentation is one or more plain sentences.
 */
#ifndef SET_GROUP
#error "settings_table.h is included by settings.h and settings.c only"
#endif

SET_GROUP("Addresses and names")
SET_LISTEN(api_listen, "127.0.0.1:7070",
    "Where the HTTP API listens.")
SET_LISTEN(preview_listen, "127.0.0.1:7080",
    "Where preview hosts listen.")
SET_LISTEN(metrics_listen, "127.0.0.1:7071",
    "Where Prometheus metrics and the gate's status are served.")
SET_STR(domain, "localhost", SET_FORM_HOST,
    "Previews are s-<id>-<port>.preview.<domain> and <port>-<id>.<domain>.")
SET_STR(preview_scheme, "http", SET_FORM_SCHEME,
    "http or https: how preview_urls are written.")
SET_NUM(preview_public_port, 0, 0, 65535,
    "Port in preview_urls when it is not preview_listen's, as behind a load "
    "balancer. 0: preview_listen's.")
SET_STR(tls_listen, "", SET_FORM_LISTEN0,
    "Where preview hosts listen with TLS and HTTP/2, beside preview_listen. "
    "Empty: nowhere.")
SET_STR(tls_certificate, "", SET_FORM_FILE,
    "PEM file of the wildcard certificate and its chain.")
SET_STR(tls_key, "", SET_FORM_FILE,
    "PEM file of the certificate's key.")
SET_STR(trusted_proxies, "", SET_FORM_NETS,
    "Comma-separated addresses and networks of load balancers and proxies in "
    "front: what they say about a client's address is believed, what anybody "
    "else says is not.")
SET_STR(proxy_protocol, "off", SET_FORM_PROXY,
    "Whether trusted_proxies speak the PROXY protocol: previews means to "
    "preview_listen and tls_listen, on means to api_listen, too. off: they "
    "send X-Forwarded-For.")
SET_STR(preview_host_header, "public", SET_FORM_HOST_HEADER,
    "The Host that apps are told, when a sandbox does not say: public (the "
    "preview's name), localhost (with the app's port; dev servers trust that "
    "name), or a name.")
SET_STR(stack, "", SET_FORM_STACK,
    "Name of this stack when several run on one host; part of interface, "
    "nftables and container names.")
SET_STR(node_name, "", SET_FORM_NAME,
    "Name of this machine, stored at the first start. Empty: the host's name.")

SET_GROUP("Folders and users")
SET_PATH(data_dir, "/var/lib/holdfast",
    "Database, workspaces, key. The one folder to back up.")
SET_PATH(run_dir, "/run/holdfast",
    "Sockets and generated configuration.")
SET_PATH(log_dir, "/var/log/holdfast",
    "Log files.")
SET_PATH(lib_dir, "/usr/lib/holdfast",
    "Programs, the nginx module and configuration pieces.")
SET_STR(api_user, "holdfast", SET_FORM_USER,
    "User of the api workers. Its group may read the database.")
SET_STR(gate_user, "www-data", SET_FORM_USER,
    "User of nginx' workers.")
SET_STR(redis_user, "redis", SET_FORM_USER,
    "User of an own Redis.")

SET_GROUP("Parts")
SET_FLAG(run_nginx, true,
    "Run an own nginx. off: you include the pieces into yours.")
SET_FLAG(run_redis, true,
    "Run an own Redis on a unix socket.")
SET_FLAG(run_docker, false,
    "Run an own Docker Engine (where no other answers).")
SET_PATH(docker_socket, "/var/run/docker.sock",
    "Unix socket of the Docker Engine.")
SET_PATH(docker_data_dir, "/var/lib/holdfast-docker",
    "Data root of an own Docker Engine.")
SET_PATH(nginx_program, "/usr/sbin/nginx",
    "The nginx that the module was built for.")
SET_PATH(redis_program, "/usr/bin/redis-server",
    "The program of an own Redis.")
SET_PATH(dockerd_program, "/usr/sbin/dockerd",
    "The program of an own Docker Engine.")
SET_NUM(api_workers, 4, 1, 64,
    "API worker processes. 2 per core, at least 4.")
SET_NUM(api_request_s, 10, 1, 25,
    "An api worker that is busy with one request for longer ends, and another "
    "is started: they never wait for anything, so it hangs.")
SET_NUM(api_requests_max, 20000, 100, 1000000000,
    "An api worker ends after about so many requests, and another is started.")
SET_NUM(nginx_workers, 0, 0, 64,
    "nginx worker processes. 0: one per core.")
SET_NUM(nofile, 16384, 1024, 1048576,
    "Descriptor limit of each part; never over the machine's hard limit.")
SET_NUM(drain_s, 10, 0, 3600,
    "Time for requests in flight when Holdfast is stopped.")
SET_STR(log_level, "info", SET_FORM_LEVEL,
    "What is logged: this and what is worse.")
SET_SIZE(log_size, "64M", 1, 65536,
    "A log file is moved to <name>.1 when it reaches this size.")
SET_NUM(log_keep, 5, 1, 100,
    "So many moved log files are kept.")

SET_GROUP("Access")
SET_STR(auth_tokens, "", SET_FORM_TOKENS,
    "Comma-separated name:secret (tenant default, scope admin) or "
    "tenant/name[:scope]=secret. Empty: no authentication, allowed on "
    "loopback only.")
SET_STR(tokens_file, "", SET_FORM_FILE,
    "File of tenant/name[:scope]=sha256:<hex> lines.")
SET_STR(api_origins, "", SET_FORM_ORIGINS,
    "Comma-separated origins of web pages that may call the API.")
SET_STR(api_hosts, "", SET_FORM_HOSTS,
    "Comma-separated further host names under which the API may be called; "
    "localhost and addresses always may.")
SET_NUM(rate_per_s, 0, 0, 1000000,
    "API calls a second per token. 0: no limit.")

SET_GROUP("Sandboxes")
SET_STR(image, "holdfast/base:latest", SET_FORM_IMAGE,
    "Image of a sandbox that names none.")
SET_STR(templates, "", SET_FORM_TEMPLATES,
    "Comma-separated name=image: what `template` may name.")
SET_SIZE(memory_default, "2G", 64, 1048576,
    "Memory limit of a sandbox that names none.")
SET_SIZE(memory_max, "16G", 64, 1048576,
    "Largest memory limit a caller may ask for.")
SET_NUM(cpus_default_milli, 2000, 100, 1024000,
    "CPU limit in thousandths of a core.")
SET_NUM(pids_default, 512, 16, 1000000,
    "Limit of processes and threads in a sandbox.")
SET_SIZE(disk_default, "10G", 64, 1048576,
    "Disk limit of a workspace.")
SET_SIZE(tmp_size, "512M", 16, 1048576,
    "Size of /tmp in a sandbox (memory).")
SET_NUM(sandbox_nofile, 8192, 256, 1048576,
    "Descriptor limit in a sandbox.")
SET_NUM(idle_s, 900, 10, 31536000,
    "Stopped after so many idle seconds.")
SET_NUM(freeze_s, 120, 0, 31536000,
    "Frozen after so many idle seconds. 0: never.")
SET_NUM(archive_s, 0, 0, 315360000,
    "Archived after so many seconds stopped: the workspace becomes one "
    "compressed file, the container goes. 0: never.")
SET_NUM(archive_level, 3, 1, 19,
    "How hard zstd tries; higher is smaller and slower.")
SET_NUM(archive_jobs, 2, 1, 64,
    "So many workspaces are packed, and as many unpacked, at the same time.")
SET_NUM(archive_timeout_s, 3600, 10, 86400,
    "Packing or unpacking one workspace that takes longer has failed.")
SET_FLAG(frozen_reclaim, true,
    "Give the memory of a frozen sandbox back to the machine: written to swap "
    "or dropped.")
SET_NUM(cpu_busy_percent, 5, 1, 1000,
    "A sandbox that uses so much of one core is not idle.")
SET_NUM(net_busy_bytes_s, 256, 1, 1000000000,
    "A sandbox that moves so many bytes a second over its own connections is "
    "not idle.")
SET_NUM(usage_s, 60, 1, 3600,
    "What running sandboxes use is added up so often.")
SET_NUM(usage_days, 400, 1, 36500,
    "Days for which usage is kept.")
SET_NUM(lease_max_s, 86400, 1, 31536000,
    "Longest lease that a caller may take.")
SET_NUM(leases_max, 64, 1, 10000,
    "Leases of one sandbox at the same time.")
SET_NUM(keepalive_s, 3600, 1, 31536000,
    "Window of a keepalive that names none.")
SET_NUM(pull_timeout_s, 3600, 10, 86400,
    "An image pull that takes longer has failed.")
SET_NUM(pull_stall_s, 180, 5, 3600,
    "An image pull that moves nothing for so long has failed.")
SET_NUM(start_timeout_s, 60, 1, 3600,
    "A start that takes longer has failed.")
SET_NUM(port_wait_s, 30, 0, 600,
    "After a start, a visit waits so long for a port that was declared or was "
    "open before.")
SET_NUM(stop_timeout_s, 10, 0, 600,
    "Time between SIGTERM and SIGKILL when a sandbox is stopped.")
SET_STR(ca_bundle, "", SET_FORM_FILE,
    "File of extra CA certificates mounted into sandboxes; the usual "
    "variables point at it.")
SET_STR(dns, "", SET_FORM_ADDRS,
    "Comma-separated resolvers for sandboxes. Empty: the host's that are not "
    "loopback.")
SET_STR(addr_range, "198.18.0.0/15", SET_FORM_CIDR,
    "Addresses of sandboxes, never visible outside the host.")
SET_NUM(uid_base, 2000000, 100000, 4000000000,
    "First host uid for sandboxes; each has one of its own.")
SET_NUM(conns_max, 2000, 16, 1000000,
    "Connections a sandbox may hold open to the outside.")
SET_FLAG(smtp_out, false,
    "Let sandboxes connect to port 25.")

SET_GROUP("Limits")
SET_NUM(sandboxes_max, 10000, 1, 1000000,
    "Sandboxes on this machine, kept workspaces included.")
SET_NUM(tenant_sandboxes_max, 0, 0, 1000000,
    "Sandboxes per tenant. 0: no limit.")
SET_NUM(tenant_awake_max, 0, 0, 1000000,
    "Awake sandboxes per tenant. 0: no limit.")
SET_SIZE(tenant_memory_max, "0", 0, 16777216,
    "Sum of memory limits of a tenant's awake sandboxes. 0: no limit.")
SET_SIZE(tenant_disk_max, "0", 0, 16777216,
    "Sum of disk limits of a tenant's sandboxes. 0: no limit.")
SET_SIZE(memory_reserve, "512M", 0, 1048576,
    "A wake or create that would leave less memory available is refused.")
SET_SIZE(memory_low, "1G", 0, 1048576,
    "With less memory available what is idle goes down: freeze, then stop. "
    "0: never.")
SET_NUM(pressure_idle_s, 30, 1, 86400,
    "What has been idle for less is not frozen when memory is low.")
SET_NUM(memory_wait_s, 5, 0, 60,
    "A start waits so long for memory that sleeping sandboxes give up.")
SET_NUM(starts_at_once, 8, 1, 256,
    "Containers being started at the same time; the rest queue.")
SET_NUM(starts_queue, 1000, 1, 100000,
    "Starts that may wait; more get 503.")
SET_NUM(disk_reserve_percent, 5, 0, 50,
    "Share of the data file system kept free: below it creates answer 507.")
SET_NUM(body_max_kb, 1024, 16, 65536,
    "Largest JSON body of the API.")
SET_NUM(env_max_kb, 256, 1, 4096,
    "Largest sum of a sandbox's env.")
SET_NUM(shares_max, 1000, 1, 100000,
    "Shares of a sandbox that are neither revoked nor over.")
SET_NUM(share_ttl_max_s, 2592000, 60, 315360000,
    "Longest life of a share.")
SET_NUM(op_hold_max_s, 300, 1, 3600,
    "An operation that takes longer is answered with 202.")
SET_NUM(hold_max_s, 60, 1, 3600,
    "A preview request is held so long at most.")
SET_NUM(warming_after_ms, 1500, 0, 60000,
    "A visitor's browser that waits longer gets a page that turns into the "
    "app.")
SET_NUM(quiet_s, 60, 5, 86400,
    "An open WebSocket or event stream that carries nothing but heartbeats for "
    "so long does not keep its sandbox awake.")
SET_NUM(hold_max_per_sandbox, 1000, 1, 100000,
    "Requests held for one sandbox.")
SET_NUM(hold_max_total, 10000, 1, 1000000,
    "Requests held per nginx worker.")
SET_NUM(exec_timeout_s, 3600, 1, 86400,
    "Longest exec.")
SET_NUM(exec_output_kb, 1024, 1, 16384,
    "Output of an exec kept per stream, unless it asks for another size.")
SET_NUM(stream_log_kb, 8192, 4, 1048576,
    "An event stream keeps about so much; older events are trimmed. Half as "
    "much again may be on the disk.")
SET_NUM(stream_clients_max, 4000, 1, 1000000,
    "Clients of event streams per nginx worker.")
SET_NUM(stream_tenant_max, 1000, 1, 1000000,
    "Clients of event streams per nginx worker and tenant.")
SET_NUM(stream_max_s, 3600, 10, 86400,
    "An event stream is ended after so long; clients come back by themselves "
    "and are checked again.")
SET_NUM(stream_ping_s, 15, 1, 3600,
    "A silent event stream carries a comment line so often.")
SET_SIZE(table_size, "16M", 1, 4096,
    "Shared memory of the gate's route table.")

#undef SET_NUM
#undef SET_SIZE
#undef SET_STR
#undef SET_PATH
#undef SET_FLAG
#undef SET_LISTEN
#undef SET_GROUP
