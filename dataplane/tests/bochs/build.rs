//! Has the linker lay out a ROM image: no libraries, no ELF around it.

fn main() {
    println!("cargo:rerun-if-changed=rom.ld");
    for argument in ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,--oformat=binary"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}/rom.ld", env!("CARGO_MANIFEST_DIR"));
}
