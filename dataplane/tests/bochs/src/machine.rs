//! What a system would do: the CPU's features, a place for text, the end, and memory in pieces.
//!
//! Unsafe: instructions that Rust has no words for, on memory that Rust's own code named.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

global_asm!(include_str!("reset.s"), options(att_syntax));

/// Parts of the state that XCR0 says are saved: SSE and AVX; those and AVX-512.
const AVX_STATE: u64 = 0b110;
const AVX512_STATE: u64 = 0b1110_0110;

/// As `is_x86_feature_detected!`: the CPU has it, and its state is saved.
pub fn cpu_has(name: &str) -> bool {
    let (first, seventh) = (__cpuid(1), __cpuid_count(7, 0));
    let (register, bit, state) = match name {
        "avx" => (first.ecx, 28, AVX_STATE),
        "avx2" => (seventh.ebx, 5, AVX_STATE),
        "avx512f" => (seventh.ebx, 16, AVX512_STATE),
        "avx512bw" => (seventh.ebx, 30, AVX512_STATE),
        "avx512vbmi" => (seventh.ecx, 1, AVX512_STATE),
        _ => return false,
    };
    // SAFETY: the reset code has switched XSAVE on.
    let saved = unsafe { _xgetbv(0) };
    register & 1 << bit != 0 && saved & state == state
}

/// Port 0xE9, which the emulator prints.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            output(0xE9, octet);
        }
        Ok(())
    }
}

#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => {{
        use core::fmt::Write;
        // A console without an error to give.
        let _ = writeln!($crate::machine::Console, $($arguments)*);
    }};
}

/// Ends the emulation.
pub fn stop() -> ! {
    for octet in b"Shutdown" {
        output(0x8900, *octet);
    }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("firmware: FAILED: {info}");
    stop()
}

fn output(port: u16, octet: u8) {
    // SAFETY: of the ports that are written one prints and the other ends the emulation.
    unsafe { asm!("out dx, al", in("dx") port, in("al") octet, options(nomem, nostack)) }
}

/// C's memcpy, which compilers call.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(into: *mut u8, from: *const u8, octets: usize) -> *mut u8 {
    // SAFETY: the caller has promised that both are valid for so many octets; flag D is clear.
    unsafe {
        asm!("rep movsb", inout("rdi") into => _, inout("rsi") from => _, inout("rcx") octets => _,
            options(nostack, preserves_flags));
    }
    into
}

/// C's memmove, of pieces that may overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(into: *mut u8, from: *const u8, octets: usize) -> *mut u8 {
    if (into as usize).wrapping_sub(from as usize) >= octets {
        // SAFETY: the caller's promise. Nothing is read after it was written.
        return unsafe { memcpy(into, from, octets) };
    }
    // SAFETY: as above, from the last octet on.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rdi") into.wrapping_add(octets - 1) => _,
            inout("rsi") from.wrapping_add(octets - 1) => _, inout("rcx") octets => _,
            options(nostack));
    }
    into
}

/// C's memset.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(into: *mut u8, octet: i32, octets: usize) -> *mut u8 {
    // SAFETY: the caller has promised that it is valid for so many octets; flag D is clear.
    unsafe {
        asm!("rep stosb", inout("rdi") into => _, inout("rcx") octets => _, in("al") octet as u8,
            options(nostack, preserves_flags));
    }
    into
}

/// C's memcmp.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, octets: usize) -> i32 {
    for at in 0..octets {
        // SAFETY: the caller has promised that both are valid for so many octets. Volatile, or the
        // compiler finds a call of memcmp in this.
        let one = unsafe { one.wrapping_add(at).read_volatile() };
        // SAFETY: as above.
        let other = unsafe { other.wrapping_add(at).read_volatile() };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// memcmp for who does not ask which is less.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, octets: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(one, other, octets) }
}
