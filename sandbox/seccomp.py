"""The system calls that a sandbox may use; all others fail with EPERM, as a kernel without them would.

Engines bring a default of their own, but what it lets through depends on their age: those before Docker 23
let a container open vsock sockets, which belong to no network namespace and reach the hypervisor and its
other guests even with `network=none`; those before 25 allow io_uring, where many kernel escapes began. So the
same list goes to every engine. Sources: seccomp(2), syscalls(2), and which calls the runtimes of our images
make. 32-bit programs do not run: the filter knows the machine's own calls only.
"""

import json
from collections.abc import Iterable
from functools import cache

_FILES = """
    open openat openat2 creat close close_range read write pread64 pwrite64 readv writev preadv pwritev
    preadv2 pwritev2 lseek sendfile splice tee vmsplice copy_file_range readahead fadvise64 fallocate truncate
    ftruncate stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents getcwd
    getdents64
    chdir fchdir mkdir mkdirat rmdir mknod mknodat rename renameat renameat2 link linkat symlink symlinkat
    readlink readlinkat unlink unlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask
    utime utimes utimensat futimesat setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr
    llistxattr flistxattr removexattr lremovexattr fremovexattr flock fsync fdatasync sync syncfs
    sync_file_range dup dup2 dup3 fcntl ioctl pipe pipe2 inotify_init inotify_init1 inotify_add_watch
    inotify_rm_watch memfd_create io_setup io_submit io_getevents io_pgetevents io_cancel io_destroy cachestat
"""
_MEMORY = """
    brk mmap munmap mprotect mremap msync madvise mincore mlock mlock2 munlock mlockall munlockall membarrier
    pkey_alloc pkey_free pkey_mprotect remap_file_pages mseal map_shadow_stack
"""
_PROCESSES = """
    fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill ptrace pidfd_open
    pidfd_send_signal process_mrelease getpid getppid gettid getpgid getpgrp setpgid getsid setsid getuid
    geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
    setgroups setfsuid setfsgid capget capset prctl arch_prctl set_tid_address set_robust_list get_robust_list
    set_thread_area get_thread_area rseq seccomp landlock_create_ruleset landlock_add_rule
    landlock_restrict_self getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64
    getrusage times sysinfo uname getcpu getrandom restart_syscall sched_yield sched_getaffinity
    sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_getattr
    sched_setattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval riscv_flush_icache
    riscv_hwprobe
"""
_SIGNALS_AND_TIME = """
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
    rt_tgsigqueueinfo sigaltstack signalfd signalfd4 pause alarm nanosleep clock_nanosleep clock_gettime
    clock_getres gettimeofday time getitimer setitimer timer_create timer_settime timer_gettime
    timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime
"""
_WAITING_AND_TALKING = """
    futex futex_waitv futex_wait futex_wake futex_requeue eventfd eventfd2 poll ppoll select pselect6
    epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 socketpair connect bind listen
    accept accept4 shutdown getsockname getpeername getsockopt setsockopt sendto sendmsg sendmmsg recvfrom
    recvmsg recvmmsg semget semop semtimedop semctl shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
"""
_ALLOWED = (_FILES, _MEMORY, _PROCESSES, _SIGNALS_AND_TIME, _WAITING_AND_TALKING)

_SOCKET_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: all end at the namespace
_PERSONALITIES = (
    0x0,
    0x8,
    0x20000,
    0x20008,
    0xFFFFFFFF,
)  # Linux, a 32-bit machine name, old names, a question
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone takes
_ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
"""Told to be absent, so that callers fall back: the flags of clone3 are out of a filter's sight."""
_EPERM, _ENOSYS = 1, 38


@cache
def profile() -> str:
    """The profile as the engine takes it in `security_opt`."""
    rules = [_rule(" ".join(_ALLOWED).split())]
    rules += [_rule(["socket"], _equal(family)) for family in _SOCKET_FAMILIES]
    rules += [_rule(["personality"], _equal(value)) for value in _PERSONALITIES]
    masked = {"index": 0, "value": _NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules.append(_rule(["clone"], masked))
    rules.append({"names": list(_ABSENT), "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _EPERM, "syscalls": rules})


def _rule(names: Iterable[str], *arguments: dict[str, object]) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": list(arguments)}


def _equal(value: int) -> dict[str, object]:
    return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}
