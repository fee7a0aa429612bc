//! RC4 in lanes: 8, 16, 24 or 32 independent streams side by side, for CPUs with AVX.
//!
//! Implements the key schedule and generator of RC4 as RFC 3078 §5 and §6 use it. Knows nothing of
//! packets. Unsafe: the four assembly routines, and the calls to them.
//!
//! Eight streams share a slot. A slot's state is 256 rows of eight octets, row i holding S\[i\] of
//! its eight lanes, so that S\[i\] of all lanes is one load and one store; only S\[j\] and the output
//! are fetched lane by lane. The routines work on up to four slots at once and interleave them:
//! while slot g is swapped, slot g + 1's next j is computed and slot g − 1's output is fetched.
//! That hides the latency of each by the work of the others; compilers do not find this order and
//! spill registers, hence assembly.

use std::arch::naked_asm;

use zeroize::Zeroize;

/// Streams in a slot.
pub const LANES: usize = 8;
/// Slots that are worked on at once.
pub const SLOTS: usize = 4;
/// Most steps of one call of [`Slots::generate`].
pub const MAX_STEPS: usize = 256;

/// One octet of each lane.
pub type Row = [u8; LANES];

/// The states of up to four slots. The offsets of the fields are known to the assembly.
#[repr(C, align(64))]
pub struct Slots {
    state: [[Row; 256]; SLOTS],
    /// j of each lane.
    j: [Row; SLOTS],
    /// i of all lanes.
    i: u8,
}

const _: () = assert!(std::mem::offset_of!(Slots, j) == 8192);

/// Key octets of up to four slots, as the key schedule reads them: row i holds octet i of all
/// lanes. The last row is padding: a routine reads 16 octets for a row's last eight.
#[repr(C, align(64))]
pub struct KeyRows {
    rows: [[Row; SLOTS]; 16],
    _padding: [Row; SLOTS],
}

/// Keystream of up to four slots: row n holds the octet of step n of each lane.
#[repr(C, align(64))]
pub struct Keystream {
    /// For each slot one row that is scribbled on, then its keystream, then padding: a multiple
    /// of 4 KiB between the slots would make their stores collide.
    rows: [[Row; ROWS]; SLOTS],
}

const ROWS: usize = 1 + MAX_STEPS + 7;
const _: () = assert!(ROWS * LANES == 2112);

impl Default for KeyRows {
    fn default() -> Self {
        Self { rows: [[[0; LANES]; SLOTS]; 16], _padding: [[0; LANES]; SLOTS] }
    }
}

impl KeyRows {
    /// The rows, to fill in: octet i of the key of lane l of slot s is at \[i\]\[s\]\[l\]. A key of
    /// 8 octets is given twice, which is the same key to RC4.
    pub const fn rows_mut(&mut self) -> &mut [[Row; SLOTS]; 16] {
        &mut self.rows
    }
}

impl Default for Keystream {
    fn default() -> Self {
        Self { rows: [[[0; LANES]; ROWS]; SLOTS] }
    }
}

impl Keystream {
    /// The rows of one slot, from the first step of the last call on.
    pub fn rows(&self, slot: usize) -> &[Row; MAX_STEPS] {
        // In bounds: a slot has more rows than that.
        self.rows[slot][1..].first_chunk().unwrap_or(&[[0; LANES]; MAX_STEPS])
    }
}

/// S\[i\] = i in all lanes.
static IDENTITY: [Row; 256] = {
    let mut rows = [[0; LANES]; 256];
    let mut index = 0;
    while index < 256 {
        // Below 256: nothing is cut.
        #[expect(clippy::cast_possible_truncation)]
        let octet = index as u8;
        rows[index] = [octet; LANES];
        index += 1;
    }
    rows
};

impl Default for Slots {
    fn default() -> Self {
        Self { state: [IDENTITY; SLOTS], j: [[0; LANES]; SLOTS], i: 0 }
    }
}

/// Proof that the CPU has AVX.
#[derive(Debug, Clone, Copy)]
pub struct Avx(());

impl Avx {
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx").then_some(Self(()))
    }
}

impl Slots {
    /// Starts the first `slots` slots, 1 to 4, with fresh keys.
    pub fn schedule(&mut self, _: Avx, slots: usize, keys: &KeyRows) {
        for state in &mut self.state[..slots] {
            *state = IDENTITY;
        }
        self.j = [[0; LANES]; SLOTS];
        self.i = 0;
        let routine = match slots {
            1 => schedule1,
            2 => schedule2,
            3 => schedule3,
            _ => schedule4,
        };
        // SAFETY: the routines need AVX, which `Avx` proves, and follow the C calling convention.
        // They write rows of `self.state`, indexed by octets, and read up to 16 octets from each
        // slot's place in a row of `keys`, which the padding after the last row covers. `self`
        // is borrowed exclusively and `keys` shared for the call.
        unsafe { routine(self, keys) }
    }

    /// Runs the first `slots` slots, 1 to 4, for `steps` steps, at most [`MAX_STEPS`]. An odd
    /// number is rounded up; returns how many steps were made.
    pub fn generate(&mut self, _: Avx, slots: usize, steps: usize, into: &mut Keystream) -> usize {
        let steps = steps.min(MAX_STEPS).next_multiple_of(2);
        if steps == 0 {
            return 0;
        }
        let routine = match slots {
            1 => generate1,
            2 => generate2,
            3 => generate3,
            _ => generate4,
        };
        // SAFETY: the routines need AVX, which `Avx` proves, and follow the C calling convention.
        // They access `self.state`, indexed by octets, and `self.j`. `steps` is even, above 0 and
        // at most `MAX_STEPS`, so they write rows 0 to 256 of each slot of `into` at most. Both
        // are borrowed exclusively for the call.
        unsafe { routine(self, into, steps, usize::from(self.i)) }
        // i wraps after 256 steps.
        #[expect(clippy::cast_possible_truncation)]
        let wrapped = steps as u8;
        self.i = self.i.wrapping_add(wrapped);
        steps
    }
}

impl Slots {
    /// i of all lanes.
    pub const fn i(&self) -> u8 {
        self.i
    }

    /// S and j of one lane of the first slot, to go on with them elsewhere.
    pub fn lane_of_first_slot(&self, lane: usize) -> ([u8; 256], u8) {
        (self.state[0].map(|row| row[lane]), self.j[0][lane])
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.state.as_flattened_mut().as_flattened_mut().zeroize();
    }
}

impl Drop for KeyRows {
    fn drop(&mut self) {
        self.rows.as_flattened_mut().as_flattened_mut().zeroize();
    }
}

// Registers: rdi slots; rsi keystream or keys; rbp steps left; r8, r15 counter of even and odd
// steps; r10/r9/xmm0 and r12/r11/xmm5 S[i], j and S[i] of even and odd work items; r13, r14
// output indices of both, or r13 the key row; rax, rcx, rdx, rbx scratch; xmm1..xmm4 gathered
// octets; xmm8.. j of the slots; xmm14 slot 0's j before
// the item that is prepared in vain.

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

/// Advances the counter from one register to the other.
macro_rules! advance {
    ($from:tt, $to:tt) => {
        concat!("lea ", $to, "d, [", $from, " + 1]\n", "movzx ", $to, "d, ", $to, "b\n")
    };
}

macro_rules! generate_routine {
    ($name:ident, last ($last:tt $last_t:tt), slots ($($slot:tt)*), $body:expr) => {
        /// Steps `rdx` times, which is even and above 0, from counter `rcx` on.
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $name(
            slots: *mut Slots,
            into: *mut Keystream,
            steps: usize,
            counter: usize,
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

/// Steps `rdx` times, which is even and above 0, from counter `rcx` on. One slot alone: its next
/// j may depend on the swap, so nothing is interleaved.
#[unsafe(naked)]
unsafe extern "sysv64" fn generate1(
    slots: *mut Slots,
    into: *mut Keystream,
    steps: usize,
    counter: usize,
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

/// Advances the counter and the key row, which come again after 16.
macro_rules! advance_key {
    ($from:tt, $to:tt) => {
        concat!(advance!($from, $to), "add r13d, 32\n", "and r13d, 511\n")
    };
}

macro_rules! schedule_routine {
    ($name:ident, slots ($($slot:tt)*), first $first:expr, $body:expr) => {
        /// The key schedule, from the identity and j = 0.
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $name(slots: *mut Slots, keys: *const KeyRows) {
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
