use std::process::Command;

use crate::support::{Said, Site, finish};

/// The commands that `haqlite --help` lists.
fn commands(help: &Said) -> Vec<String> {
    let list = help.stdout.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn examples(help: &Said) -> Vec<String> {
    let lines = help.stdout.split("Examples:\n").nth(1).unwrap().lines();
    lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_example_of_the_help_runs() {
    let site = Site::with_log();
    let all = site.run(&["--help"]);
    let mut pages = vec![all.stdout.clone()];
    let mut lines = examples(&all);
    let commands = commands(&all);
    assert!(commands.len() >= 5, "{commands:?}");
    for command in &commands {
        let help = site.run(&[command, "--help"]);
        assert_eq!(help.code, Some(0));
        let of_command = examples(&help);
        assert!(!of_command.is_empty(), "{command} has no example");
        assert!(
            of_command.iter().all(|line| line.contains(&format!("haqlite {command} "))),
            "{of_command:?}"
        );
        lines.extend(of_command);
        pages.push(help.stdout);
    }
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_haqlite"));
    for (number, line) in lines.iter().enumerate() {
        let folder = site.path(&format!("example-{number}"));
        std::fs::create_dir(&folder).unwrap();
        if line.contains("--force") {
            // So that there is something to replace.
            let made = site.on_log("restore", &["-o", folder.join("then.db").to_str().unwrap()]);
            assert_eq!(made.code, Some(0), "{made:?}");
        }
        let mut script = line.replace("s3://my-bucket", &site.bucket());
        // Whatever else runs on this machine.
        script = script.replace(":8080", ":0");
        let goes_on = line.contains("haqlite follow") || line.contains("haqlite store-server");
        if goes_on && !line.contains("--once") {
            script = script.replace("haqlite", "timeout --foreground --preserve-status -s INT 2 haqlite");
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(&folder).env_remove("HAQLITE_STORAGE_URL");
        let path = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{path}", binary.parent().unwrap().display()));
        shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let said = finish(shell.spawn().unwrap());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{line}: {said:?}");
        assert!(!said.stdout.is_empty(), "{line} says nothing");
        if line.contains("--json") {
            assert!(!said.lines().is_empty());
        }
    }
    assert!(pages.iter().flat_map(|page| page.lines()).all(|line| line.len() <= 130), "a line is too long");
}

#[test]
fn help_and_version_are_answers_and_tell_the_exit_codes() {
    let site = Site::empty();
    let help = site.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for code in 0..=7 {
        assert!(help.stdout.contains(&format!("\n  {code}  ")), "no exit code {code}");
    }
    let version = site.run(&["--version"]);
    assert_eq!((version.code, version.stdout), (Some(0), format!("haqlite {}\n", env!("CARGO_PKG_VERSION"))));
    let alias = site.run(&["replicate", "--help"]);
    assert!(alias.code == Some(0) && alias.stdout.contains("read-only copy"));
}
