/*
 * test_usage: where the control group of a process is, on v1, v2 and both.
 */
#include <string.h>

#include "keeper/usage.h"
#include "test.h"

static const char v1[] =
    "12:pids:/docker/abc\n"
    "11:cpu,cpuacct:/docker/abc\n"
    "10:memory:/docker/abc\n"
    "1:name=systemd:/docker/abc\n";
static const char v2[] = "0::/system.slice/docker-abc.scope\n";
static const char both[] =
    "5:memory:/docker/abc\n"
    "1:name=systemd:/docker/abc\n"
    "0::/unified/abc\n";

static void finds(const char *text, const char *controller, bool is_v2,
    const char *want)
{
    char out[128] = "";
    bool two = !is_v2;

    CHECK(usage_cgroup_find(text, controller, &two, out, sizeof(out)) == 0);
    CHECK(two == is_v2);
    CHECK(strcmp(out, want) == 0);
}

static void not_found(const char *text)
{
    char out[64];
    bool two;

    CHECK(usage_cgroup_find(text, "memory", &two, out, sizeof(out)) == -1);
}

int main(void)
{
    finds(v1, "memory", false, "/sys/fs/cgroup/memory/docker/abc");
    finds(v1, "cpuacct", false, "/sys/fs/cgroup/cpu,cpuacct/docker/abc");
    finds(v2, "memory", true,
        "/sys/fs/cgroup/system.slice/docker-abc.scope");
    finds(both, "memory", false, "/sys/fs/cgroup/memory/docker/abc");
    finds(both, "cpuacct", true, "/sys/fs/cgroup/unified/abc");

    not_found("");
    not_found("\n\n");
    not_found("10:memory");
    not_found("10:memoryx:/docker/abc\n");
    not_found("10:memory:relative\n");
    not_found("10:memory:/docker/../../etc\n");
    not_found("0::/a/..\n");
    /* too long for the room there is */
    not_found("10:memory:/0123456789012345678901234567890123456789012345\n");
    return test_end();
}
