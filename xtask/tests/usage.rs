//! What is no command, or none of its options, is answered with how it is used; and nothing is run.

use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[test]
fn what_is_wrong_is_named_and_answered_with_the_usage() {
    for (arguments, words) in [
        (vec![], vec!["Usage: cargo xtask <COMMAND>", "demo", "lint"]),
        (vec!["dmeo"], vec!["'dmeo'", "'demo'", "Usage: cargo xtask"]),
        (vec!["demo", "--framework", "rocket"], vec!["'rocket'", "axum, actix, poem, tower"]),
        (vec!["demo", "--framwork=axum"], vec!["'--framwork'", "'--framework'", "Usage: cargo xtask demo"]),
        (vec!["demo", "actix"], vec!["'actix'", "Usage: cargo xtask demo"]),
        (vec!["newspaper", "--port"], vec!["'--port'", "Usage: cargo xtask newspaper"]),
        (
            vec!["browser", "--firefox", "--measure"],
            vec!["--firefox", "--measure", "Usage: cargo xtask browser"],
        ),
        (vec!["race", "nightly"], vec!["'nightly'", "Usage: cargo xtask race"]),
        (vec!["lint", "x"], vec!["'x'", "Usage: cargo xtask lint"]),
    ] {
        let (code, said) = run(&arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
        assert!(!said.contains("xtask: cargo"), "{arguments:?}: it runs something: {said}");
    }
    for arguments in [vec!["--help"], vec!["demo", "--help"], vec!["test", "--help"]] {
        let (code, said) = run(&arguments);
        assert!(code == Some(0) && said.contains("Usage: cargo xtask"), "{arguments:?}: {said}");
    }
}
