//! The committed object is what its source says: rebuilt with the recorded clang, it has the same
//! instructions and maps.

use std::path::Path;
use std::process::Command;

const RECORDED: &str = include_str!("../src/bpf/steering.clang");
const MAKEFILE: &str = include_str!("../Makefile");

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Major version of a clang, `None` if there is none by this name.
fn major_version(clang: &str) -> Option<String> {
    let version = output(Command::new(clang).arg("--version"))?;
    let number = version.split_once("version ")?.1;
    Some(number.split('.').next()?.to_owned())
}

/// Instructions with their relocations, and the type information that describes the maps.
fn contents(object: &Path) -> Option<String> {
    let objdump = format!("llvm-objdump-{}", RECORDED.trim());
    let disassembly = [objdump.as_str(), "llvm-objdump"].into_iter().find_map(|objdump| {
        output(
            Command::new(objdump)
                .args(["-d", "-r", "-s", "--section=xdp", "--section=.BTF"])
                .arg(object),
        )
    })?;
    // The lines before the first section name the file.
    let mut lines = disassembly.lines().skip_while(|line| !line.contains(" section "));
    Some(lines.by_ref().map(|line| format!("{line}\n")).collect())
}

#[test]
fn the_committed_object_is_built_from_the_committed_source() {
    let recorded = RECORDED.trim();
    let versioned = format!("clang-{recorded}");
    let Some(clang) = ["clang", &versioned]
        .into_iter()
        .find(|clang| major_version(clang).as_deref() == Some(recorded))
    else {
        println!("skipped: the object was built with clang {recorded}, which is not here");
        return;
    };

    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = source.join("src/bpf/steering.o");
    let Some(committed) = contents(&committed) else {
        println!("skipped: llvm-objdump is not here");
        return;
    };
    assert!(committed.contains("<steering>"), "no program in the object");

    let flags = MAKEFILE.lines().find_map(|line| line.strip_prefix("FLAGS := ")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let rebuilt = directory.path().join("steering.o");
    let status = Command::new(clang)
        .current_dir(source)
        .args(flags.split_whitespace())
        .args(["-c", "src/bpf/steering.c", "-o"])
        .arg(&rebuilt)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(contents(&rebuilt).unwrap(), committed, "run `make ebpf` and commit the object");
}
