//! The socket filter that gives each worker its own tunnels.
//!
//! The kernel hands every GRE packet to every raw socket, so each worker's socket has a classic
//! BPF program that passes enhanced GRE (RFC 2637 §4.1) with the worker's share of our Call IDs.
//! It sees the packet from the IP header on, reassembled; a packet too short for a load is not
//! passed. It never looks behind the GRE header.

use std::io;
use std::os::fd::BorrowedFd;

use crate::io::sys::set_option;

/// Version in the low bits of the GRE flags: enhanced GRE is version 1.
const VERSION_MASK: u32 = 0x0007;
const VERSION: u32 = 1;
/// Protocol type of PPP in enhanced GRE.
const PROTOCOL_PPP: u32 = 0x880b;
/// Offsets in the GRE header.
const FLAGS: u32 = 0;
const PROTOCOL: u32 = 2;
const CALL_ID: u32 = 6;

const fn instruction(code: u32, jump_false: u8, k: u32) -> libc::sock_filter {
    #[expect(clippy::cast_possible_truncation, reason = "opcodes have eight bits")]
    let code = code as u16;
    libc::sock_filter { code, jt: 0, jf: jump_false, k }
}

/// Passes enhanced GRE whose Call ID is `worker` modulo `workers` (at least one).
fn own_tunnels(worker: u16, workers: u16) -> [libc::sock_filter; 11] {
    use libc::{
        BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MOD,
        BPF_MSH, BPF_RET,
    };
    let load = |at| instruction(BPF_LD | BPF_H | BPF_IND, 0, at);
    let unless_equal = |value, skip| instruction(BPF_JMP | BPF_JEQ | BPF_K, skip, value);
    [
        // X = length of the IP header.
        instruction(BPF_LDX | BPF_B | BPF_MSH, 0, 0),
        load(FLAGS),
        instruction(BPF_ALU | BPF_AND | BPF_K, 0, VERSION_MASK),
        unless_equal(VERSION, 6),
        load(PROTOCOL),
        unless_equal(PROTOCOL_PPP, 4),
        load(CALL_ID),
        instruction(BPF_ALU | BPF_MOD | BPF_K, 0, u32::from(workers.max(1))),
        unless_equal(u32::from(worker), 1),
        instruction(BPF_RET | BPF_K, 0, u32::MAX),
        nothing(),
    ]
}

/// Passes no packet.
const fn nothing() -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0)
}

/// Lets the socket receive `worker`'s share of `workers` and nothing else.
pub(super) fn attach(fd: BorrowedFd<'_>, worker: u16, workers: u16) -> io::Result<()> {
    attach_program(fd, &mut own_tunnels(worker, workers))
}

/// Lets the socket receive nothing: it is there to send.
pub(super) fn attach_nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    attach_program(fd, &mut [nothing()])
}

fn attach_program(fd: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = libc::c_ushort::try_from(program.len())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}
