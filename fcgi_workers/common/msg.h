/*
 * msg: SOCK_SEQPACKET sockets with descriptors beside the bytes.
 *
 * msg_send never blocks (EAGAIN is for the caller), msg_recv takes one packet,
 * always with CLOEXEC, and closes descriptors that nobody asked for. A text
 * over MSG_INLINE_MAX goes as a sealed memfd; msg_recv_text reads it back and
 * refuses one that is not sealed or is over the limit.
 */
#ifndef HF_MSG_H
#define HF_MSG_H

#include <stddef.h>
#include <sys/types.h>

#define MSG_INLINE_MAX 61440
#define MSG_FDS_MAX    16

/* ops.sock: operations from this number on have no row to be asked about. */
#define MSG_ROWLESS    (1LL << 52)

int msg_listen(const char *path, int type, unsigned mode, int uid, int gid);
int msg_connect(const char *path, int type);    /* non-blocking, or -1 */
int msg_accept(int fd, int *peer_uid);          /* non-blocking, CLOEXEC */

int     msg_send(int fd, const void *data, size_t len,
    const int *fds, int nfds);
/* Bytes received; 0 at the end; -1 with errno. EMSGSIZE when cut. */
ssize_t msg_recv(int fd, void *data, size_t len, int *fds, int *nfds);

int msg_send_text(int fd, const char *text, size_t len);
/* Malloced, NUL-terminated text into *text (the caller frees). 1 got one, 0
 * at the end, -1 with errno (EAGAIN: nothing there). */
int msg_recv_text(int fd, size_t max, char **text, size_t *len);

#endif
