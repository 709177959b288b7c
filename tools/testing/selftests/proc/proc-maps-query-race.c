// SPDX-License-Identifier: GPL-2.0
/*
 * PROCMAP_QUERY while VMAs of the target are split, resized, moved and merged:
 * each answer must be a VMA that the target had at that address in some state,
 * and an address that is always mapped must be found.
 */
#include <linux/fs.h>

#include "../kselftest_harness.h"
#include "proc-maps-cases.h"

static void race_query(struct __test_metadata *_metadata, struct window *w,
		       struct target *t, struct maps_reader *r, __u64 flags)
{
	struct query q = { .fd = t->fd, .step = t->page, .flags = flags };

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	ASSERT_EQ(0, place_inside(t, r));
	change_record(_metadata, w, t);
	race_verdict(_metadata, w,
		     race_run(t, w, duration_ms(), query_pass, &q));
}

TEST_F_TIMEOUT(change, covering, test_timeout())
{
	race_query(_metadata, self->window, &self->target, self->reader, 0);
}

TEST_F_TIMEOUT(change, covering_or_next, test_timeout())
{
	race_query(_metadata, self->window, &self->target, self->reader,
		   PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
}

TEST_HARNESS_MAIN
