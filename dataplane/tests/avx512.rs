//! The MPPE kernel for AVX-512 on an emulated CPU that has it, since most CPUs that run these tests
//! have none: bochs boots `bochs/`, which compares the kernel with RustCrypto's RC4.

#![cfg(target_arch = "x86_64")]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn on_an_emulated_cpu_the_avx512_kernel_makes_the_references_keystream() {
    let romimage = format!("romimage: file={}", build().unwrap().display());
    let mut bochs = Command::new("bochs")
        .args(["-q", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bochs/bochsrc"), &romimage])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there has to be bochs: scripts/setup test installs it, or apt-get install bochs");
    // Debian's has a debugger, which asks whether to begin.
    bochs.stdin.take().unwrap().write_all(b"continue\n").unwrap();
    let mut said = Vec::new();
    bochs.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    bochs.wait().unwrap();
    let said = String::from_utf8_lossy(&said);
    let verdict = said.lines().rfind(|line| line.starts_with("firmware: "));
    assert_eq!(verdict, Some("firmware: passed"), "{said}");
}

/// Builds the firmware, a ROM image.
fn build() -> io::Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bochs/Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--manifest-path", manifest])
        .arg("--target-dir")
        .arg(&target)
        // What is wanted of programs with a system (sanitizers) is not for this one.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .status()?;
    assert!(built.success(), "the firmware does not build");
    Ok(target.join("release/penstock-firmware"))
}
