//! The committed objects are what their sources say: neither changed since they were built, and
//! rebuilt with the recorded clang, where there is one, they have the same instructions and maps.

use std::path::Path;
use std::process::Command;

const RECORDED: &str = include_str!("../src/bpf/clang.version");
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
                .args(["-d", "-r", "-s", "--section=xdp", "--section=socket", "--section=.BTF"])
                .arg(object),
        )
    })?;
    // The lines before the first section name the file.
    let mut lines = disassembly.lines().skip_while(|line| !line.contains(" section "));
    Some(lines.by_ref().map(|line| format!("{line}\n")).collect())
}

#[test]
fn neither_sources_nor_objects_changed_since_they_were_built() {
    let sums = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bpf/built.sha256");
    let text = std::fs::read_to_string(&sums).unwrap();
    for kind in [".c", ".h", ".o"] {
        for file in std::fs::read_dir(sums.parent().unwrap()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            assert!(
                !file.ends_with(kind) || text.contains(&format!(" src/bpf/{file}\n")),
                "{file}"
            );
        }
    }
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet"])
        .arg(&sums)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "run `make ebpf` and commit the objects: {said}");
}

#[test]
fn the_committed_objects_are_built_from_the_committed_sources() {
    let recorded = RECORDED.trim();
    let versioned = format!("clang-{recorded}");
    let Some(clang) = ["clang", &versioned]
        .into_iter()
        .find(|clang| major_version(clang).as_deref() == Some(recorded))
    else {
        println!("skipped: the objects were built with clang {recorded}, which is not here");
        return;
    };

    let flags = MAKEFILE.lines().find_map(|line| line.strip_prefix("FLAGS := ")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    for program in ["steering", "doorkeeper", "generator"] {
        let Some(committed) = contents(&source.join(format!("src/bpf/{program}.o"))) else {
            println!("skipped: llvm-objdump is not here");
            return;
        };
        assert!(committed.contains(&format!("<{program}>")), "no program in the object");

        let rebuilt = directory.path().join(format!("{program}.o"));
        let status = Command::new(clang)
            .current_dir(source)
            .args(flags.split_whitespace())
            .args(["-c", &format!("src/bpf/{program}.c"), "-o"])
            .arg(&rebuilt)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(
            contents(&rebuilt).unwrap(),
            committed,
            "run `make ebpf` and commit the objects"
        );
    }
}
