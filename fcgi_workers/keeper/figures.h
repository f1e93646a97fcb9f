/*
 * figures: what the machine has done, for Prometheus.
 *
 * Counted in memory from the start of the keeper on; figures about now are
 * read where they are (question.c).
 */
#ifndef HF_KEEPER_FIGURES_H
#define HF_KEEPER_FIGURES_H

#include "../common/buf.h"
#include "sandbox.h"

/* A sandbox has moved from one rung to the one that it has now. */
void figures_moved(struct sandbox *sb, enum rung from);
/* As Prometheus text, with the label node. */
void figures_render(const struct keeper *k, struct buf *b);

#endif
