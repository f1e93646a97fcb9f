/*
 * ops: ops.sock, where api workers bring operations and questions.
 *
 * One JSON object per packet, one reply per request, in the order of the
 * requests of that connection. A reply leaves after the commit of the turn
 * that the request came in.
 */
#ifndef HF_KEEPER_OPS_H
#define HF_KEEPER_OPS_H

#include <json-c/json.h>

#include "op.h"

int  ops_open(struct keeper *k, int listen_fd, struct err *e);
void ops_close(struct keeper *k);
/* Takes up what was open when the last keeper ended. */
int  ops_resume(struct keeper *k, struct err *e);

struct op *ops_find_open(struct keeper *k, int64_t number);
bool ops_known(struct keeper *k, int64_t number);
void ops_link_gone(struct keeper *k, int slot);

/* After a commit: begins what came in, tells what has ended, sends replies.
 * Whether anything happened. */
bool ops_release(struct keeper *k);
/* The commit failed: what came in this turn is refused with *e. */
void ops_refuse(struct keeper *k, const struct err *e);
/* Sends the replies that are ready. */
void ops_flush(struct keeper *k);

/* A question that an engine's answer ends: numbered, without a row. */
int64_t ops_question_number(struct keeper *k);

/* ---- for the handlers of kinds (create.c, change.c, question.c) ---------- */

struct request {                /* borrowed, of one packet */
    struct keeper      *k;
    struct json_object *args;
    const char         *tenant, *actor, *request_id, *remote;
    const char         *idem, *idem_hash, *sandbox;
    enum op_kind        kind;
    bool                v1;
    struct op          *op;     /* made by ops_intend, if at all */
    struct json_object *reply;  /* set by handlers that answer at once */
};

/* The sandbox of the request: of this tenant and not gone. NULL and *e. */
struct sandbox *request_sandbox(const struct request *r, struct err *e);
/* Stores the intent; `sb` NULL: of no single sandbox. `apply` is run after the
 * commit. */
int  ops_intend(struct request *r, struct sandbox *sb,
    void (*apply)(struct op *op), const char *args, struct err *e);
/* What the handler has written already is all there is to it: the answer
 * (taken; malloced or NULL) is sent after the commit, then apply is run. */
void ops_now(struct request *r, struct sandbox *sb,
    void (*apply)(struct op *op), int status, char *answer);
/* A question: like ops_intend, without a row; its handler ends it (op_end). */
void ops_ask(struct request *r, struct sandbox *sb);

/* From a packet; everything in *r is borrowed from `in`. */
int request_read(struct keeper *k, struct json_object *in,
    struct request *r, struct err *e);
/* Leaves r->op or r->reply, or fails. */
int request_run(struct request *r, struct err *e);

/* A reply of ops.sock as text, malloced. */
char *ops_answer_text(int status, const char *answer, bool replayed);
struct op *ops_find(struct keeper *k, int64_t number);
void ops_hash_remove(struct op *op);
/* Makes it findable by its number; begins it after the next commit. */
void ops_hash_add(struct op *op);
void ops_fresh(struct op *op);

int move_request(struct request *r, struct err *e);
int move_purge_all(struct request *r, struct err *e);
/* "engine_unavailable" while Docker is known not to answer. */
int move_engine(struct keeper *k, struct err *e);
int create_request(struct request *r, struct err *e);
/* Its row was never committed. */
void create_undo(struct sandbox *sb);
int change_request(struct request *r, struct err *e);   /* patch, env, … */
int question_request(struct request *r, struct err *e);

/* Small readers of checked JSON. */
const char *arg_str(struct json_object *o, const char *name);
int64_t arg_num(struct json_object *o, const char *name, int64_t def);
struct json_object *arg_get(struct json_object *o, const char *name);

#endif
