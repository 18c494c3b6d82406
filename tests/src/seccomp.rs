//! Forbids system calls to the calling thread, as container profiles do.
//!
//! There is no way back, so only a process of its own may ask for it ([`crate::child::alone`]).
//! What a reactor makes of the refusals is for the tests to say.

use std::io;

/// The three calls of io_uring.
pub const IO_URING: [libc::c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Makes each of `calls` fail with `errno` from now on, in this thread and those it starts.
///
/// # Errors
///
/// What the system says.
///
/// # Panics
///
/// Panics for an errno or a call number that no system has.
#[expect(unsafe_code, reason = "no library here sets a seccomp filter")]
pub fn forbid(calls: &[libc::c_long], errno: i32) -> io::Result<()> {
    let mut program = filter(calls, errno);
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a few instructions"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes plain numbers; it only ever reduces what this process may do.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: `header` and the program it points to live until the call returns, and the kernel
    // copies both.
    check(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const header)
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Loads the call's number, compares it with each of `calls`, refuses those and allows the rest.
fn filter(calls: &[libc::c_long], errno: i32) -> Vec<libc::sock_filter> {
    let errno = u32::try_from(errno).expect("an errno is positive");
    let step = |code: u32, jump_if: usize, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("instruction codes have 16 bits"),
        jt: u8::try_from(jump_if).expect("a short program"),
        jf: 0,
        k,
    };
    let number = u32::try_from(std::mem::offset_of!(libc::seccomp_data, nr)).expect("a small one");
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, number)];
    for (index, call) in calls.iter().enumerate() {
        let call = u32::try_from(*call).expect("call numbers are small");
        // Over the comparisons that remain and the allowing return.
        let to_refusal = calls.len() - index;
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to_refusal, call));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | errno));
    program
}
