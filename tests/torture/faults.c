/* faults: a disk and a clock that fail on command, for `make torture`.
 *
 * Loaded with LD_PRELOAD, it stands between a program and the calls that change
 * files below one folder. It numbers them, and does to the chosen one what the
 * environment says. All other paths are left alone.
 *
 *   FAULTS_ROOT=FOLDER   the folder; absolute, without links
 *   FAULTS_LOG=FILE      append a line per operation, "N NAME PATH", and before
 *                        the one that a fault strikes a line that begins with "!"
 *   FAULTS_ONLY=TEXT     number only operations whose "NAME PATH" contains it
 *   FAULTS_READS=1       number opens and reads of files instead of changes
 *   FAULTS_AT=N          strike operation N, from 1
 *   FAULTS_DO=WHAT       before  the process is killed before it
 *                        after   the process is killed after it
 *                        torn    half of a write is done, then the process is killed
 *                        cut     it is done, then the power fails
 *                        eio, enospc   it fails with that error
 *   FAULTS_LASTING=1     it and all that follow fail
 *   FAULTS_BYTES=N       the disk is full after N bytes: the write that crosses
 *                        the line is short, all later ones fail with ENOSPC
 *   FAULTS_UNDO=FOLDER   where a power cut keeps what it may have to bring back;
 *                        on the same file system, outside of the root
 *   FAULTS_SEED=N        decides what a power cut takes
 *   FAULTS_CLOCK=A,B,…   seconds by which the wall clock is off; each look at it
 *                        takes the next, the last one stays
 *
 * A power cut takes what POSIX does not promise to keep: of each file, what was
 * written after its last fsync is gone, or half gone, or zeros; and creations,
 * renames, removals and new folders are undone, newest first, back to a point
 * between "all that no fsync of their folder has settled" and "none".
 *
 * The real calls are made as system calls, so nothing here calls itself. One
 * lock is held during each operation: at the end nobody writes meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *only, *what, *undo, *clocks;
static int log_file = -1, reads, lasting;
static long at, count, bytes_left = -1;
static unsigned long chance;

static const char *text(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static long number(const char *name, long otherwise) {
    const char *value = text(name);
    return value ? atol(value) : otherwise;
}

__attribute__((constructor)) static void read_orders(void) {
    clocks = text("FAULTS_CLOCK");
    only = text("FAULTS_ONLY");
    what = text("FAULTS_DO");
    undo = text("FAULTS_UNDO");
    at = number("FAULTS_AT", 0);
    reads = number("FAULTS_READS", 0) != 0;
    lasting = number("FAULTS_LASTING", 0) != 0;
    bytes_left = number("FAULTS_BYTES", -1);
    chance = (unsigned long)number("FAULTS_SEED", 0) * 2 + 1;
    if (text("FAULTS_LOG"))
        log_file = (int)syscall(SYS_openat, AT_FDCWD, text("FAULTS_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    root = text("FAULTS_ROOT"); /* last: nothing is looked at before it is known */
}

/* ------------------------------------------------------------------ paths */

static int is_inside(const char *path) {
    size_t length = root ? strlen(root) : 0;
    return length && path && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* The path of an open file, if that is inside. */
static int path_of(int file, char *path) {
    char link[64];
    if (!root || file < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return is_inside(path);
}

/* Whether `folder` is the folder that `path` stands in. */
static int is_in_folder(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && path[length] == '/' && !strchr(path + length + 1, '/');
}

static int exists(const char *path) { return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0; }

/* ----------------------------------------------- what is not on the disk yet */

/* A file that was written, and how much of it was synced. It is held open, not
 * through the program's own description: that may carry a lock. */
static struct file { dev_t device; ino_t inode; int file; off_t synced; } files[4096];
/* A change of a folder: c created, d folder made, r renamed, u removed; 0 settled. */
static struct change { char kind; char *from, *path, *kept; } changes[16384];
static int file_count, change_count;

static unsigned long draw(unsigned long below) {
    chance = chance * 6364136223846793005UL + 1442695040888963407UL;
    return (chance >> 33) % below;
}

/* The record of an open file; made on first sight, before it is written. */
static struct file *known(int file) {
    struct stat stat;
    char link[64];
    if (!undo || fstat(file, &stat) || !S_ISREG(stat.st_mode)) return NULL;
    for (int i = 0; i < file_count; i++)
        if (files[i].inode == stat.st_ino && files[i].device == stat.st_dev) return &files[i];
    if (file_count == sizeof files / sizeof *files) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int own = (int)syscall(SYS_openat, AT_FDCWD, link, O_WRONLY | O_CLOEXEC, 0);
    files[file_count] = (struct file){stat.st_dev, stat.st_ino, own, stat.st_size};
    return &files[file_count++];
}

/* Keeps what stands at a path that is about to be replaced or removed. */
static char *keep(const char *path) {
    static int turn;
    char *kept;
    if (!undo || !exists(path) || asprintf(&kept, "%s/%d-%d", undo, getpid(), turn++) < 0) return NULL;
    if (!syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0)) return kept;
    free(kept);
    return NULL;
}

static void changed(char kind, const char *from, const char *path, char *kept) {
    if (!undo || change_count == sizeof changes / sizeof *changes) return;
    changes[change_count++] = (struct change){kind, from ? strdup(from) : NULL, strdup(path), kept};
}

/* A folder or a file was synced: what it holds is on the disk. */
static void settled(int file, const char *path) {
    struct stat stat;
    if (!undo || fstat(file, &stat)) return;
    if (S_ISDIR(stat.st_mode)) {
        for (int i = 0; i < change_count; i++)
            if (is_in_folder(changes[i].path, path)) changes[i].kind = 0;
    } else {
        struct file *record = known(file);
        if (record) record->synced = stat.st_size;
    }
}

static void undo_change(struct change *change) {
    char aside[PATH_MAX];
    switch (change->kind) {
    case 'c': syscall(SYS_unlinkat, AT_FDCWD, change->path, 0); break;
    case 'd':
        snprintf(aside, sizeof aside, "%s/%d-folder-%ld", undo, getpid(), (long)(change - changes));
        syscall(SYS_renameat2, AT_FDCWD, change->path, AT_FDCWD, aside, 0);
        break;
    case 'r':
        syscall(SYS_renameat2, AT_FDCWD, change->path, AT_FDCWD, change->from, 0);
        if (change->kept) syscall(SYS_renameat2, AT_FDCWD, change->kept, AT_FDCWD, change->path, 0);
        break;
    case 'u':
        if (change->kept && !exists(change->path))
            syscall(SYS_renameat2, AT_FDCWD, change->kept, AT_FDCWD, change->path, 0);
        break;
    }
}

/* What was not synced is lost. */
static void cut_power(void) {
    struct stat stat;
    for (int i = 0; i < file_count; i++) {
        struct file *file = &files[i];
        if (fstat(file->file, &stat) || stat.st_size <= file->synced) continue;
        off_t loss = stat.st_size - file->synced, way = (off_t)draw(3);
        off_t left = file->synced + (way == 1 ? (off_t)draw((unsigned long)loss) : 0);
        syscall(SYS_ftruncate, file->file, left);
        if (way == 2) syscall(SYS_ftruncate, file->file, stat.st_size);
    }
    unsigned long way = draw(3);
    int stop = way == 0 ? 0 : way == 1 ? change_count : (int)draw((unsigned long)change_count + 1);
    for (int i = change_count - 1; i >= stop; i--) undo_change(&changes[i]);
}

/* -------------------------------------------------------------- the numbers */

enum { GO = 0, AFTER = -1, TORN = -2, CUT = -3 }; /* else the error's number */

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void note(const char *mark, long turn, const char *name, const char *path) {
    if (log_file >= 0) dprintf(log_file, "%s%ld %s %s\n", mark, turn, name, path);
}

/* Takes the lock, numbers the operation and says what is to become of it. */
static int enter(const char *name, const char *path, int is_read) {
    char line[PATH_MAX + 32];
    int saved = errno;
    pthread_mutex_lock(&gate);
    if (is_read != reads) return GO;
    snprintf(line, sizeof line, "%s %s", name, path);
    if (only && !strstr(line, only)) return GO;
    count++;
    int due = at && what && (count == at || (lasting && count > at));
    note(due ? "!" : "", count, name, path);
    errno = saved;
    if (!due) return GO;
    if (!strcmp(what, "eio")) return EIO;
    if (!strcmp(what, "enospc")) return ENOSPC;
    if (!strcmp(what, "after")) return AFTER;
    if (!strcmp(what, "torn")) return strcmp(name, "write") ? AFTER : TORN;
    if (!strcmp(what, "cut")) return CUT;
    die();
    return GO;
}

/* Ends what `enter` began. */
static long leave(int verdict, long result) {
    int saved = errno;
    if (verdict == CUT) cut_power();
    if (verdict < 0) die();
    pthread_mutex_unlock(&gate);
    errno = verdict > 0 ? verdict : saved;
    return verdict > 0 ? -1 : result;
}

/* ---------------------------------------------------------------- the calls */

static int opening(int folder, const char *path, int flags, int mode) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    if (!is_inside(path) || (flags & O_DIRECTORY) || (!writes && !reads))
        return (int)syscall(SYS_openat, folder, path, flags, mode);
    int verdict = enter("open", path, !writes);
    int was_there = exists(path);
    long file = verdict > 0 ? -1 : syscall(SYS_openat, folder, path, flags, mode);
    if (file >= 0 && writes) {
        struct file *record = flags & O_TRUNC || !was_there ? known((int)file) : NULL;
        if (record) record->synced = 0;
        if (!was_there) changed('c', NULL, path, NULL);
    }
    return (int)leave(verdict, file);
}

#define OPEN(NAME)                                                                     \
    int NAME(const char *path, int flags, ...) {                                       \
        va_list rest;                                                                  \
        va_start(rest, flags);                                                         \
        int mode = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? va_arg(rest, int) : 0; \
        va_end(rest);                                                                  \
        return opening(AT_FDCWD, path, flags, mode);                                   \
    }
#define OPENAT(NAME)                                                                   \
    int NAME(int folder, const char *path, int flags, ...) {                           \
        va_list rest;                                                                  \
        va_start(rest, flags);                                                         \
        int mode = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? va_arg(rest, int) : 0; \
        va_end(rest);                                                                  \
        return opening(folder, path, flags, mode);                                     \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static ssize_t writing(int file, const void *bytes, size_t length, off_t offset) {
    char path[PATH_MAX];
    int is_there = path_of(file, path);
    int verdict = is_there ? enter("write", path, 0) : GO;
    size_t most = verdict == TORN ? length / 2 : length;
    if (is_there && bytes_left >= 0 && verdict <= 0) {
        if (bytes_left == 0 && length) {
            note("!", count, "write", path);
            verdict = ENOSPC;
        }
        if ((long)most > bytes_left) most = (size_t)bytes_left;
        bytes_left -= (long)most;
    }
    if (is_there) known(file);
    long written = -1;
    if (verdict <= 0)
        written = offset < 0 ? syscall(SYS_write, file, bytes, most) : syscall(SYS_pwrite64, file, bytes, most, offset);
    return is_there ? leave(verdict, written) : written;
}

ssize_t write(int file, const void *bytes, size_t length) { return writing(file, bytes, length, -1); }
ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) { return writing(file, bytes, length, offset); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) { return writing(file, bytes, length, offset); }

ssize_t writev(int file, const struct iovec *parts, int number_of_parts) {
    char path[PATH_MAX];
    if (!path_of(file, path)) return syscall(SYS_writev, file, parts, number_of_parts);
    for (int i = 0; i < number_of_parts; i++) /* a short write is always allowed */
        if (parts[i].iov_len) return writing(file, parts[i].iov_base, parts[i].iov_len, -1);
    return 0;
}

static ssize_t reading(int file, void *bytes, size_t length, off_t offset) {
    char path[PATH_MAX];
    int is_there = reads && path_of(file, path);
    int verdict = is_there ? enter("read", path, 1) : GO;
    long got = -1;
    if (is_there) pthread_mutex_unlock(&gate); /* reads change nothing, and may wait */
    if (verdict <= 0)
        got = offset < 0 ? syscall(SYS_read, file, bytes, length) : syscall(SYS_pread64, file, bytes, length, offset);
    if (is_there) pthread_mutex_lock(&gate);
    return is_there ? leave(verdict, got) : got;
}

ssize_t read(int file, void *bytes, size_t length) { return reading(file, bytes, length, -1); }
ssize_t pread64(int file, void *bytes, size_t length, off64_t offset) { return reading(file, bytes, length, offset); }

int rename(const char *from, const char *to) {
    if (!is_inside(to)) return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    int verdict = enter("rename", to, 0);
    char *kept = verdict <= 0 ? keep(to) : NULL;
    long result = verdict > 0 ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!result) changed('r', from, to, kept);
    return (int)leave(verdict, result);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    if (!is_inside(to)) return (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    int verdict = enter("link", to, 0);
    long result = verdict > 0 ? -1 : syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    if (!result) changed('c', NULL, to, NULL);
    return (int)leave(verdict, result);
}

static int removing(int folder, const char *path, int flags) {
    if (!is_inside(path)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    int verdict = enter("unlink", path, 0);
    char *kept = verdict <= 0 && !flags ? keep(path) : NULL;
    long result = verdict > 0 ? -1 : syscall(SYS_unlinkat, folder, path, flags);
    if (!result) changed('u', NULL, path, kept);
    return (int)leave(verdict, result);
}

int unlink(const char *path) { return removing(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removing(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return removing(folder, path, flags); }

int mkdir(const char *path, mode_t mode) {
    if (!is_inside(path)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    int verdict = enter("mkdir", path, 0);
    long result = verdict > 0 ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (!result) changed('d', NULL, path, NULL);
    return (int)leave(verdict, result);
}

static int with_file(const char *name, int file, long call, long one, long two) {
    char path[PATH_MAX];
    int is_there = path_of(file, path);
    int verdict = is_there ? enter(name, path, 0) : GO;
    if (is_there && call == SYS_ftruncate) known(file);
    int may_wait = is_there && call == SYS_flock;
    if (may_wait) pthread_mutex_unlock(&gate);
    long result = verdict > 0 ? -1 : syscall(call, file, one, two, 0);
    if (may_wait) pthread_mutex_lock(&gate);
    if (is_there && !result && (call == SYS_fsync || call == SYS_fdatasync)) settled(file, path);
    return is_there ? (int)leave(verdict, result) : (int)result;
}

int fsync(int file) { return with_file("sync", file, SYS_fsync, 0, 0); }
int fdatasync(int file) { return with_file("sync", file, SYS_fdatasync, 0, 0); }
int ftruncate(int file, off_t length) { return with_file("truncate", file, SYS_ftruncate, length, 0); }
int ftruncate64(int file, off64_t length) { return with_file("truncate", file, SYS_ftruncate, length, 0); }
int flock(int file, int operation) { return with_file("lock", file, SYS_flock, operation, 0); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    long result = syscall(SYS_clock_gettime, clock, time);
    if (result || clock != CLOCK_REALTIME || !clocks) return (int)result;
    pthread_mutex_lock(&turn);
    time->tv_sec += atol(clocks);
    const char *next = strchr(clocks, ',');
    if (next) clocks = next + 1;
    pthread_mutex_unlock(&turn);
    return 0;
}
