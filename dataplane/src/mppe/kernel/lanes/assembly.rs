//! The routines of the lanes: key schedule and generator for one to four slots.
//!
//! Implements RC4 as RFC 3078 §5 and §6 use it. Unsafe: all of it; `Slots` has the calls and their
//! arguments. The routines follow the System V calling convention, need AVX, use the stack for
//! saved registers alone and touch only what their pointers lead to.
//!
//! | registers | hold |
//! |---|---|
//! | rdi, rsi | slots; keystream or keys |
//! | rbp | steps left |
//! | r8, r15 | i of even and of odd steps |
//! | r10, r9, xmm0 | S\[i\], j and S\[i\] of even work items |
//! | r12, r11, xmm5 | the same of odd ones |
//! | r13, r14 | output indices of even and odd items; in the key schedule r13 is the key row |
//! | rax, rcx, rdx, rbx | scratch |
//! | xmm1 to xmm4 | gathered octets |
//! | xmm8 to xmm11 | j of the slots |
//! | xmm14 | slot 0's j before the item that is prepared in vain at the end |
//! | xmm15 | zero |

use core::arch::naked_asm;

use super::{KeyRows, Keystream, Slots};

macro_rules! j_of {
    (0) => {
        "xmm8"
    };
    (1) => {
        "xmm9"
    };
    (2) => {
        "xmm10"
    };
    (3) => {
        "xmm11"
    };
}

/// Loads S[i] of a slot and adds it to j.
macro_rules! prepare {
    ($slot:tt, $i:tt, $row:tt, $j:tt, $x:tt, $key:expr) => {
        concat!(
            "mov ",
            $row,
            ", [rdi + ",
            $i,
            "*8 + 2048*",
            $slot,
            "]\n",
            "vmovq ",
            $x,
            ", ",
            $row,
            "\n",
            $key,
            "vpaddb ",
            j_of!($slot),
            ", ",
            j_of!($slot),
            ", ",
            $x,
            "\n",
            "vmovq ",
            $j,
            ", ",
            j_of!($slot),
            "\n",
        )
    };
}

/// Swaps S[i] and S[j] of two lanes; what was S[j] is gathered in a vector.
macro_rules! swap_pair {
    ($slot:tt, $lane:tt, $into:tt, $from:tt) => {
        concat!(
            "movzx ecx, dl\n",
            "movzx ebx, dh\n",
            "shr rdx, 16\n",
            "vpinsrb ",
            $into,
            ", ",
            $from,
            ", byte ptr [rdi + rcx*8 + 2048*",
            $slot,
            " + ",
            $lane,
            "], ",
            $lane,
            "\n",
            "mov byte ptr [rdi + rcx*8 + 2048*",
            $slot,
            " + ",
            $lane,
            "], al\n",
            "vpinsrb ",
            $into,
            ", ",
            $into,
            ", byte ptr [rdi + rbx*8 + 2048*",
            $slot,
            " + ",
            $lane,
            " + 1], ",
            $lane,
            " + 1\n",
            "mov byte ptr [rdi + rbx*8 + 2048*",
            $slot,
            " + ",
            $lane,
            " + 1], ah\n",
            "shr rax, 16\n",
        )
    };
}

/// Swaps S[i] and S[j] of all lanes of a slot.
macro_rules! swap {
    ($slot:tt, $i:tt, $row:tt, $j:tt) => {
        concat!(
            "mov rax, ",
            $row,
            "\n",
            "mov rdx, ",
            $j,
            "\n",
            swap_pair!($slot, 0, "xmm1", "xmm15"),
            swap_pair!($slot, 2, "xmm1", "xmm1"),
            swap_pair!($slot, 4, "xmm2", "xmm15"),
            swap_pair!($slot, 6, "xmm2", "xmm2"),
            "vpor xmm1, xmm1, xmm2\n",
            "vmovq [rdi + ",
            $i,
            "*8 + 2048*",
            $slot,
            "], xmm1\n",
        )
    };
}

/// S[i] + S[j]: the index of the output.
macro_rules! output_index {
    ($x:tt, $t:tt) => {
        concat!("vpaddb ", $x, ", ", $x, ", xmm1\n", "vmovq ", $t, ", ", $x, "\n",)
    };
}

macro_rules! fetch_pair {
    ($slot:tt, $lane:tt, $into:tt, $from:tt) => {
        concat!(
            "movzx ecx, dl\n",
            "movzx ebx, dh\n",
            "shr rdx, 16\n",
            "vpinsrb ",
            $into,
            ", ",
            $from,
            ", byte ptr [rdi + rcx*8 + 2048*",
            $slot,
            " + ",
            $lane,
            "], ",
            $lane,
            "\n",
            "vpinsrb ",
            $into,
            ", ",
            $into,
            ", byte ptr [rdi + rbx*8 + 2048*",
            $slot,
            " + ",
            $lane,
            " + 1], ",
            $lane,
            " + 1\n",
        )
    };
}

/// Fetches the output of all lanes of a slot.
macro_rules! output {
    ($slot:tt, $row:tt, $t:tt) => {
        concat!(
            "mov rdx, ",
            $t,
            "\n",
            fetch_pair!($slot, 0, "xmm3", "xmm15"),
            fetch_pair!($slot, 2, "xmm3", "xmm3"),
            fetch_pair!($slot, 4, "xmm4", "xmm15"),
            fetch_pair!($slot, 6, "xmm4", "xmm4"),
            "vpor xmm3, xmm3, xmm4\n",
            "vmovq [rsi + 2112*",
            $slot,
            " + 8*(",
            $row,
            ")], xmm3\n",
        )
    };
}

/// One work item of the generator: the next slot's j, this slot's swap, the last slot's output.
macro_rules! generate_item {
    (even, $next:tt $next_i:tt, $slot:tt $i:tt, $last:tt $row:tt) => {
        concat!(
            prepare!($next, $next_i, "r12", "r11", "xmm5", ""),
            swap!($slot, $i, "r10", "r9"),
            output_index!("xmm0", "r13"),
            output!($last, $row, "r14"),
        )
    };
    (odd, $next:tt $next_i:tt, $slot:tt $i:tt, $last:tt $row:tt) => {
        concat!(
            prepare!($next, $next_i, "r10", "r9", "xmm0", ""),
            swap!($slot, $i, "r12", "r11"),
            output_index!("xmm5", "r14"),
            output!($last, $row, "r13"),
        )
    };
}

/// Advances i from one register to the other.
macro_rules! advance {
    ($from:tt, $to:tt) => {
        concat!("lea ", $to, "d, [", $from, " + 1]\n", "movzx ", $to, "d, ", $to, "b\n")
    };
}

macro_rules! generate_routine {
    ($name:ident, last ($last:tt $last_t:tt), slots ($($slot:tt)*), $body:expr) => {
        /// Steps `rdx` times, which is even and above 0, from i = `rcx` on.
        #[unsafe(naked)]
        pub unsafe extern "sysv64" fn $name(
            slots: *mut Slots,
            into: *mut Keystream,
            steps: usize,
            i: usize,
        ) {
            naked_asm!(
                "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
                "mov rbp, rdx",
                "lea r8d, [rcx + 1]",
                "movzx r8d, r8b",
                // The first output belongs to no step: it goes to the scribble row.
                "add rsi, 8",
                "xor r13d, r13d",
                "xor r14d, r14d",
                "vpxor xmm15, xmm15, xmm15",
                $(concat!("vmovq ", j_of!($slot), ", [rdi + 8192 + 8*", $slot, "]"),)*
                prepare!(0, "r8", "r10", "r9", "xmm0", ""),
                "2:",
                $body,
                "add rsi, 16",
                "sub rbp, 2",
                "ja 2b",
                output!($last, "-1", $last_t),
                $(concat!("vmovq [rdi + 8192 + 8*", $slot, "], ", j_of!($slot)),)*
                "vmovq [rdi + 8192], xmm14",
                "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
                "ret",
            )
        }
    };
}

generate_routine!(generate2, last (1 "r14"), slots (0 1), concat!(
    generate_item!(even, 1 "r8", 0 "r8", 1 "-1"),
    advance!("r8", "r15"),
    generate_item!(odd, 0 "r15", 1 "r8", 0 "0"),
    generate_item!(even, 1 "r15", 0 "r15", 1 "0"),
    advance!("r15", "r8"),
    "vmovdqa xmm14, xmm8\n",
    generate_item!(odd, 0 "r8", 1 "r15", 0 "1"),
));

generate_routine!(generate3, last (2 "r14"), slots (0 1 2), concat!(
    generate_item!(even, 1 "r8", 0 "r8", 2 "-1"),
    generate_item!(odd, 2 "r8", 1 "r8", 0 "0"),
    advance!("r8", "r15"),
    generate_item!(even, 0 "r15", 2 "r8", 1 "0"),
    generate_item!(odd, 1 "r15", 0 "r15", 2 "0"),
    generate_item!(even, 2 "r15", 1 "r15", 0 "1"),
    advance!("r15", "r8"),
    "vmovdqa xmm14, xmm8\n",
    generate_item!(odd, 0 "r8", 2 "r15", 1 "1"),
));

generate_routine!(generate4, last (3 "r14"), slots (0 1 2 3), concat!(
    generate_item!(even, 1 "r8", 0 "r8", 3 "-1"),
    generate_item!(odd, 2 "r8", 1 "r8", 0 "0"),
    generate_item!(even, 3 "r8", 2 "r8", 1 "0"),
    advance!("r8", "r15"),
    generate_item!(odd, 0 "r15", 3 "r8", 2 "0"),
    generate_item!(even, 1 "r15", 0 "r15", 3 "0"),
    generate_item!(odd, 2 "r15", 1 "r15", 0 "1"),
    generate_item!(even, 3 "r15", 2 "r15", 1 "1"),
    advance!("r15", "r8"),
    "vmovdqa xmm14, xmm8\n",
    generate_item!(odd, 0 "r8", 3 "r15", 2 "1"),
));

/// Steps `rdx` times, which is even and above 0, from i = `rcx` on. One slot alone: its next
/// j may depend on the swap, so nothing is interleaved.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn generate1(
    slots: *mut Slots,
    into: *mut Keystream,
    steps: usize,
    i: usize,
) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rbp, rdx",
        "lea r8d, [rcx + 1]",
        "movzx r8d, r8b",
        "add rsi, 8",
        "vpxor xmm15, xmm15, xmm15",
        "vmovq xmm8, [rdi + 8192]",
        "2:",
        prepare!(0, "r8", "r10", "r9", "xmm0", ""),
        swap!(0, "r8", "r10", "r9"),
        output_index!("xmm0", "r13"),
        advance!("r8", "r15"),
        output!(0, "0", "r13"),
        prepare!(0, "r15", "r10", "r9", "xmm0", ""),
        swap!(0, "r15", "r10", "r9"),
        output_index!("xmm0", "r13"),
        advance!("r15", "r8"),
        output!(0, "1", "r13"),
        "add rsi, 16",
        "sub rbp, 2",
        "ja 2b",
        "vmovq [rdi + 8192], xmm8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// Adds the key octets of the row that r13 points to.
macro_rules! add_key {
    ($slot:tt) => {
        concat!("vpaddb ", j_of!($slot), ", ", j_of!($slot), ", [rsi + r13 + 8*", $slot, "]\n")
    };
}

/// One work item of the key schedule: the next slot's j, this slot's swap.
macro_rules! schedule_item {
    (even, $next:tt $next_i:tt, $slot:tt $i:tt) => {
        concat!(
            prepare!($next, $next_i, "r12", "r11", "xmm5", add_key!($next)),
            swap!($slot, $i, "r10", "r9"),
        )
    };
    (odd, $next:tt $next_i:tt, $slot:tt $i:tt) => {
        concat!(
            prepare!($next, $next_i, "r10", "r9", "xmm0", add_key!($next)),
            swap!($slot, $i, "r12", "r11"),
        )
    };
}

/// Advances i and the key row, which comes again after 16.
macro_rules! advance_key {
    ($from:tt, $to:tt) => {
        concat!(advance!($from, $to), "add r13d, 32\n", "and r13d, 511\n")
    };
}

macro_rules! schedule_routine {
    ($name:ident, slots ($($slot:tt)*), first $first:expr, $body:expr) => {
        /// The key schedule, from the identity and j = 0.
        #[unsafe(naked)]
        pub unsafe extern "sysv64" fn $name(slots: *mut Slots, keys: *const KeyRows) {
            naked_asm!(
                "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
                "mov ebp, 256",
                "xor r8d, r8d",
                "xor r13d, r13d",
                "vpxor xmm15, xmm15, xmm15",
                $(concat!("vpxor ", j_of!($slot), ", ", j_of!($slot), ", ", j_of!($slot)),)*
                $first,
                "2:",
                $body,
                "sub ebp, 2",
                "ja 2b",
                "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
                "ret",
            )
        }
    };
}

schedule_routine!(schedule1, slots (0), first "", concat!(
    prepare!(0, "r8", "r10", "r9", "xmm0", add_key!(0)),
    swap!(0, "r8", "r10", "r9"),
    advance_key!("r8", "r15"),
    prepare!(0, "r15", "r10", "r9", "xmm0", add_key!(0)),
    swap!(0, "r15", "r10", "r9"),
    advance_key!("r15", "r8"),
));

schedule_routine!(schedule2, slots (0 1), first prepare!(0, "r8", "r10", "r9", "xmm0", add_key!(0)), concat!(
    schedule_item!(even, 1 "r8", 0 "r8"),
    advance_key!("r8", "r15"),
    schedule_item!(odd, 0 "r15", 1 "r8"),
    schedule_item!(even, 1 "r15", 0 "r15"),
    advance_key!("r15", "r8"),
    schedule_item!(odd, 0 "r8", 1 "r15"),
));

schedule_routine!(schedule3, slots (0 1 2), first prepare!(0, "r8", "r10", "r9", "xmm0", add_key!(0)), concat!(
    schedule_item!(even, 1 "r8", 0 "r8"),
    schedule_item!(odd, 2 "r8", 1 "r8"),
    advance_key!("r8", "r15"),
    schedule_item!(even, 0 "r15", 2 "r8"),
    schedule_item!(odd, 1 "r15", 0 "r15"),
    schedule_item!(even, 2 "r15", 1 "r15"),
    advance_key!("r15", "r8"),
    schedule_item!(odd, 0 "r8", 2 "r15"),
));

schedule_routine!(schedule4, slots (0 1 2 3), first prepare!(0, "r8", "r10", "r9", "xmm0", add_key!(0)), concat!(
    schedule_item!(even, 1 "r8", 0 "r8"),
    schedule_item!(odd, 2 "r8", 1 "r8"),
    schedule_item!(even, 3 "r8", 2 "r8"),
    advance_key!("r8", "r15"),
    schedule_item!(odd, 0 "r15", 3 "r8"),
    schedule_item!(even, 1 "r15", 0 "r15"),
    schedule_item!(odd, 2 "r15", 1 "r15"),
    schedule_item!(even, 3 "r15", 2 "r15"),
    advance_key!("r15", "r8"),
    schedule_item!(odd, 0 "r8", 3 "r15"),
));
