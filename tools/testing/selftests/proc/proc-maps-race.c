// SPDX-License-Identifier: GPL-2.0
/*
 * Read /proc/PID/maps while VMAs of the target are split, resized, moved and
 * merged. Each line must be what the target had at that place in some state,
 * nothing that was always there may be missing, and inside one read() nothing
 * may be shown twice. proc-maps-cases.h has the changes.
 */
#include "../kselftest_harness.h"
#include "proc-maps-cases.h"

static int pass_read(struct window *w, void *arg)
{
	return window_pass(w, arg, 0, false);
}

/* The whole window comes out of one read(). */
TEST_F_TIMEOUT(change, one_read, test_timeout())
{
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	change_record(_metadata, self->window, &self->target);
	race_verdict(_metadata, self->window,
		     race_run(&self->target, self->window, duration_ms(),
			      pass_read, self->reader));
	EXPECT_EQ(0, self->window->across);
}

/* The most lines that the window has in a state. */
static unsigned int most_lines(const struct window *w)
{
	unsigned int i, most = 0;

	for (i = 0; i < w->nr; i++)
		if (w->state[i].nr > most)
			most = w->state[i].nr;
	return most;
}

/* A read() ends after each line of the window in turn. */
TEST_F_TIMEOUT(change, two_reads, test_timeout())
{
	unsigned int lines, most;

	self->reader->size = READ_PAGE;
	ASSERT_EQ(0, place_across(&self->target, self->reader, 1));
	change_record(_metadata, self->window, &self->target);
	most = most_lines(self->window);
	for (lines = 1; lines < most; lines++) {
		ASSERT_EQ(0, place_across(&self->target, self->reader, lines));
		change_record(_metadata, self->window, &self->target);
		if (!race_verdict(_metadata, self->window,
				  race_run(&self->target, self->window,
					   duration_ms() / (most - 1), pass_read,
					   self->reader)))
			return;
		EXPECT_LT(0, self->window->across);
	}
}

/* The user buffer takes one line and a part of the next. */
TEST_F_TIMEOUT(change, small_buffer, test_timeout())
{
	self->reader->size = READ_SMALL;
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	change_record(_metadata, self->window, &self->target);
	race_verdict(_metadata, self->window,
		     race_run(&self->target, self->window, duration_ms(),
			      pass_read, self->reader));
	EXPECT_LT(0, self->window->across);
}

struct saved {
	struct maps_reader *reader;
	off_t first;		/* of the window's first line */
	off_t second;		/* of its second one */
};

/* Never go on where the pread() before ended. */
static int pass_pread(struct window *w, void *arg)
{
	struct saved *saved = arg;

	return window_pass(w, saved->reader, saved->second, true) ?:
	       window_pass(w, saved->reader, saved->first, false);
}

/*
 * pread() at saved offsets: at the window and inside of it. All lines around
 * are of the same length, so that a saved offset is always that of a line.
 */
TEST_F_TIMEOUT(change, pread_saved, test_timeout())
{
	struct saved saved = { .reader = self->reader };
	struct maps_line line;

	self->reader->positioned = true;
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	change_record(_metadata, self->window, &self->target);
	maps_rewind(self->reader, 0);
	do {
		ASSERT_EQ(1, maps_next(self->reader, &line));
	} while (line.start != self->window->lo);
	saved.first = self->reader->line_offset;
	saved.second = saved.first + self->reader->line_len;
	race_verdict(_metadata, self->window,
		     race_run(&self->target, self->window, duration_ms(),
			      pass_pread, &saved));
}

TEST_HARNESS_MAIN
