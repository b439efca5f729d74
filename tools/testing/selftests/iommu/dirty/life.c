// SPDX-License-Identifier: GPL-2.0-only
/* Watching over a process: see life.h */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <sys/wait.h>

#include "dsim_user.h"
#include "life.h"

/* Nothing takes as long, on however busy a host */
#define STUCK_MS	120000
#define PROGRESS_MS	10000

void nap(unsigned int us)
{
	struct timespec ts = { .tv_nsec = us * 1000L };

	nanosleep(&ts, NULL);
}

bool life_watch(const struct life *life, pid_t pid, unsigned long long began)
{
	static unsigned long long told;
	unsigned long long moved = now_ms();
	unsigned long done = life->done();
	int status;

	while (!waitpid(pid, &status, WNOHANG)) {
		nap(life->nap_us);
		if (now_ms() - told > PROGRESS_MS) {
			told = now_ms();
			life->tell(began);
		}
		if (done != life->done()) {
			done = life->done();
			moved = now_ms();
		}
		if (now_ms() - moved > STUCK_MS) {
			snprintf(life->why, life->why_size, "%s for %u s",
				 life->stuck, STUCK_MS / 1000);
			*life->failed = true;
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return false;
		}
	}
	if (!*life->failed && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
		snprintf(life->why, life->why_size, "ended by signal %d",
			 WTERMSIG(status));
		*life->failed = true;
	}
	return !*life->failed;
}
