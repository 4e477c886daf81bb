// What the C library asks a system for, where there is none: its output becomes lines of the host's log, and
// everything else fails. Link it where a plugin uses `printf`, `snprintf` or `assert`.
#include <wasi/api.h>

__attribute__((import_module("millrace:pipeline/log@0.1.0"), import_name("log"))) void host_log(
    int32_t level, const uint8_t *text, size_t length);

// In the order of the contract's `level`.
enum { INFO = 2, WARN = 3 };

int32_t __imported_wasi_snapshot_preview1_fd_write(int32_t fd, int32_t parts, int32_t n_parts, int32_t written) {
  const __wasi_ciovec_t *part = (const __wasi_ciovec_t *)parts;
  size_t total = 0;
  for (int32_t i = 0; i < n_parts; i++) {
    size_t length = part[i].buf_len;
    total += length;
    // The log ends each line itself.
    if (length > 0 && part[i].buf[length - 1] == '\n')
      length--;
    if (length > 0)
      host_log(fd == 2 ? WARN : INFO, part[i].buf, length);
  }
  *(__wasi_size_t *)written = total;
  return __WASI_ERRNO_SUCCESS;
}

// As a terminal has it, so that every line is written at once.
int32_t __imported_wasi_snapshot_preview1_fd_fdstat_get(int32_t fd, int32_t stat) {
  (void)fd;
  *(__wasi_fdstat_t *)stat = (__wasi_fdstat_t){.fs_filetype = __WASI_FILETYPE_CHARACTER_DEVICE};
  return __WASI_ERRNO_SUCCESS;
}

int32_t __imported_wasi_snapshot_preview1_fd_seek(int32_t fd, int64_t offset, int32_t whence, int32_t result) {
  (void)fd, (void)offset, (void)whence, (void)result;
  return __WASI_ERRNO_SPIPE;
}

int32_t __imported_wasi_snapshot_preview1_fd_close(int32_t fd) {
  (void)fd;
  return __WASI_ERRNO_BADF;
}

_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(int32_t code) {
  (void)code;
  __builtin_trap();
}
