// SPDX-License-Identifier: GPL-2.0-only
/* Watching over a process: see life.h */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

#include "kselftest.h"
#include "dsim_user.h"
#include "life.h"

/* Nothing takes as long, on however busy a host */
#define STUCK_MS	120000
#define PROGRESS_MS	10000

struct life_fate *life_fate;

void failed(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!life_fate->failed)
		vsnprintf(life_fate->why, sizeof(life_fate->why), fmt, args);
	va_end(args);
	life_fate->failed = true;
	_exit(1);
}

unsigned long from_environment(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);
	char *end;
	unsigned long n;

	if (!value || !*value)
		return otherwise;
	n = strtoul(value, &end, 0);
	if (*end || *value == '-')
		ksft_exit_fail_msg("%s must be a number\n", name);
	return n;
}

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
			snprintf(life_fate->why, sizeof(life_fate->why), "%s for %u s",
				 life->stuck, STUCK_MS / 1000);
			life_fate->failed = true;
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return false;
		}
	}
	if (!life_fate->failed && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
		snprintf(life_fate->why, sizeof(life_fate->why), "ended by signal %d",
			 WTERMSIG(status));
		life_fate->failed = true;
	}
	return !life_fate->failed;
}
