/* A disk that fails, or that forgets what was never synced, for one process: cc -shared -fPIC, then LD_PRELOAD.

BAD_DISK       the folder beneath which the disk is bad
BAD_DISK_OPS   which calls count: any of mkdir,open,write,sync,rename,unlink,rmdir,truncate, with commas
BAD_DISK_AT    the first of them that fails, from 1
BAD_DISK_FOR   how many fail from then on; -1: all
BAD_DISK_ERRNO what they fail with; 0: the process is killed there instead
BAD_DISK_SLEEP seconds for which each of them waits before that
BAD_DISK_SYNCED folder that gets what was synced: files/ID.N are contents, folders/ID.N lists of "kind ID name", N being
               how many calls had come by then
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
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
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long counted = 0;
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* How many calls have come, and from where to count. */
long bad_disk_count(long from) {
  pthread_mutex_lock(&lock);
  if (from >= 0) counted = from;
  long n = counted;
  pthread_mutex_unlock(&lock);
  return n;
}

static int beneath(const char *path) {
  const char *top = getenv("BAD_DISK");
  return top && path && strncmp(path, top, strlen(top)) == 0;
}

static int where(int at, const char *path, char *out) {
  if (path[0] == '/') return snprintf(out, PATH_MAX, "%s", path) > 0;
  char link[64], base[PATH_MAX];
  if (at == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) return 0;
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, base, sizeof base - 1);
    if (n < 0) return 0;
    base[n] = 0;
  }
  return snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path) > 0;
}

/* Whether this call fails; errno says by what. */
static int fails(const char *op, const char *path) {
  const char *ops = getenv("BAD_DISK_OPS"), *at = getenv("BAD_DISK_AT");
  if (!ops || !beneath(path)) return 0;
  const char *found = strstr(ops, op);
  if (!found) return 0;
  const char *naps = getenv("BAD_DISK_SLEEP");
  if (naps) usleep((useconds_t)(atof(naps) * 1e6));
  pthread_mutex_lock(&lock);
  long n = ++counted;
  pthread_mutex_unlock(&lock);
  if (!at) return 0;
  const char *many = getenv("BAD_DISK_FOR"), *number = getenv("BAD_DISK_ERRNO");
  long first = atol(at), count = many ? atol(many) : 1;
  if (n < first || (count >= 0 && n >= first + count)) return 0;
  if (!number || !atoi(number)) kill(getpid(), SIGKILL);
  errno = atoi(number);
  return 1;
}

static int fails_fd(const char *op, int fd) {
  char path[PATH_MAX];
  return getenv("BAD_DISK_OPS") && where(fd, ".", path) && fails(op, path);
}

static void id_of(const struct statx *s, char *out) {
  sprintf(out, "%llu-%lld-%u", (unsigned long long)s->stx_ino, (long long)s->stx_btime.tv_sec, s->stx_btime.tv_nsec);
}

static void synced(int fd) {
  const char *to = getenv("BAD_DISK_SYNCED");
  char path[PATH_MAX], out[PATH_MAX], part[PATH_MAX], id[64], buffer[65536];
  struct statx s;
  if (!to || !where(fd, ".", path) || !beneath(path)) return;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s)) return;
  pthread_mutex_lock(&lock);
  id_of(&s, id);
  int folder = S_ISDIR(s.stx_mode);
  snprintf(out, sizeof out, "%.2000s/%s/%s.%ld", to, folder ? "folders" : "files", id, counted);
  snprintf(part, sizeof part, "%.4000s.part", out);
  int copy = REAL(open64)(part, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  path[strlen(path) - 2] = 0; /* without the dot */
  if (folder) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
      struct statx t;
      char child[64], line[PATH_MAX];
      if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
      if (statx(dirfd(dir), entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &t)) continue;
      id_of(&t, child);
      int n = snprintf(line, sizeof line, "%c %s %s\n", S_ISDIR(t.stx_mode) ? 'd' : 'f', child, entry->d_name);
      if (REAL(write)(copy, line, n) < 0) {}
    }
    if (dir) closedir(dir);
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int from = REAL(open64)(link, O_RDONLY);
    ssize_t n;
    while (from >= 0 && (n = read(from, buffer, sizeof buffer)) > 0)
      if (REAL(write)(copy, buffer, n) < 0) {}
    if (from >= 0) close(from);
  }
  close(copy);
  REAL(rename)(part, out);
  pthread_mutex_unlock(&lock);
}

#define AT_PATH(op, at, path) \
  char full[PATH_MAX]; \
  if (getenv("BAD_DISK_OPS") && where(at, path, full) && fails(op, full)) return -1

int mkdir(const char *path, mode_t mode) { AT_PATH("mkdir", AT_FDCWD, path); return REAL(mkdir)(path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { AT_PATH("mkdir", at, path); return REAL(mkdirat)(at, path, mode); }
int rmdir(const char *path) { AT_PATH("rmdir", AT_FDCWD, path); return REAL(rmdir)(path); }
int unlink(const char *path) { AT_PATH("unlink", AT_FDCWD, path); return REAL(unlink)(path); }
int unlinkat(int at, const char *path, int flags) { AT_PATH("unlink", at, path); return REAL(unlinkat)(at, path, flags); }
int rename(const char *old, const char *new) { AT_PATH("rename", AT_FDCWD, new); return REAL(rename)(old, new); }
int renameat(int a, const char *old, int b, const char *new) { AT_PATH("rename", b, new); return REAL(renameat)(a, old, b, new); }
int renameat2(int a, const char *old, int b, const char *new, unsigned flags) { AT_PATH("rename", b, new); return REAL(renameat2)(a, old, b, new, flags); }

#define OPEN(name, at, call) \
  mode_t mode = 0; \
  if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
  if (flags & (O_CREAT | O_WRONLY | O_RDWR)) { AT_PATH("open", at, path); } \
  return REAL(name) call
int open(const char *path, int flags, ...) { OPEN(open, AT_FDCWD, (path, flags, mode)); }
int open64(const char *path, int flags, ...) { OPEN(open64, AT_FDCWD, (path, flags, mode)); }
int openat(int at, const char *path, int flags, ...) { OPEN(openat, at, (at, path, flags, mode)); }
int openat64(int at, const char *path, int flags, ...) { OPEN(openat64, at, (at, path, flags, mode)); }

ssize_t write(int fd, const void *data, size_t size) { if (fails_fd("write", fd)) return -1; return REAL(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { if (fails_fd("write", fd)) return -1; return REAL(pwrite)(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { if (fails_fd("write", fd)) return -1; return REAL(pwrite64)(fd, data, size, at); }
ssize_t writev(int fd, const struct iovec *parts, int n) { if (fails_fd("write", fd)) return -1; return REAL(writev)(fd, parts, n); }
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at) { if (fails_fd("write", fd)) return -1; return REAL(pwritev)(fd, parts, n, at); }
int ftruncate(int fd, off_t size) { if (fails_fd("truncate", fd)) return -1; return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { if (fails_fd("truncate", fd)) return -1; return REAL(ftruncate64)(fd, size); }

#define SYNC(name) \
  int name(int fd) { \
    if (fails_fd("sync", fd)) return -1; \
    int done = REAL(name)(fd); \
    if (!done) synced(fd); \
    return done; \
  }
SYNC(fsync)
SYNC(fdatasync)
