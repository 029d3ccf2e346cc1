//! The documents say what is there: the quick start is the example, and the tests that they name exist.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_quick_start_of_the_readme_is_the_example() {
    let example = read("examples/quickstart.rs");
    let code = example.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    let code = code.collect::<Vec<_>>().join("\n");
    assert!(code.starts_with("use haqlite::"), "{code}");
    assert!(
        read("README.md").contains(&format!("```rust\n{code}\n```")),
        "the README has another quick start"
    );
}

#[test]
fn the_architecture_names_tests_that_exist() {
    let text = read("core/ARCHITECTURE.md");
    // What is a sentence in snake case between backticks is the name of a test.
    let named: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            name.matches('_').count() >= 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        })
        .filter(|name| !name.starts_with('_'))
        .collect();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    let mut files = Vec::new();
    collect(&root().join("core"), &mut files);
    let sources: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let missing: Vec<&&str> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn the_code_map_names_every_file() {
    let text = read("core/ARCHITECTURE.md");
    let map = text.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let (folder, mut files) = (root().join("core/src"), Vec::new());
    collect(&folder, &mut files);
    // Tests, and folders that the map names as a whole.
    files.retain(|file| {
        let path = file.strip_prefix(&folder).unwrap().to_string_lossy();
        !["tests/", "_tests.rs", "test_", "wire/", "s3/"].iter().any(|part| path.contains(part))
    });
    let names = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap());
    assert!(files.len() > 100, "only {} files", files.len());
    let missing: BTreeSet<&str> =
        names.filter(|name| !matches!(*name, "mod" | "lib") && !map.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "the code map does not name {missing:?}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is")).join("..")
}
