//! The rules of the house that a compiler does not know, held for every tracked file.

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::{Function, Source, words};

/// The floors from the bottom up. A folder imports from lines above its own only, and from itself.
const FLOORS: &[&[&str]] = &[
    &["types"],
    &["wal", "ltx", "election"],
    &["replication"],
    &["net"],
    &["bucket"],
    &["lease_store"],
    &["manifest_store"],
    &["testing"],
    &["sqlite"],
    &["server"],
    &["client"],
    &["runtime"],
    &["store_server"],
    &["database"],
    &["cli"],
    &["bin"],
];

/// Folders that decide and never act.
const PURE: &[&str] = &["types", "wal", "ltx", "election", "replication"];

/// What a pure folder does not touch.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "rusqlite",
    "reqwest",
    "axum",
    "rustix",
    "SystemTime",
    "Instant",
    "Uuid",
    "uuid",
];

/// Who reads a clock outside of the runtime: a bucket in this process stamps its objects as a server would.
const CLOCKS: &[&str] = &["bucket/clock.rs"];

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 70;

/// Files (below `core/src`) that have outgrown the limit, with their lines: entries only shrink and go.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions (`file::function`) that have outgrown the limit, with their lines: entries only shrink and go.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "clippy.toml",
    "core",
    "examples",
    "node",
    "python",
    "rustfmt.toml",
    "uniffi",
];

/// Folders that exist only on somebody's machine. Written in pieces, for this file is held to it as well.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Where packages come from is the machine's affair, not the repository's.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("files.pythonhosted", ".org"),
    concat!("pypi", ".org/simple"),
    concat!("repo1.maven", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("deb.debian", ".org"),
];

/// Files that name registries by their nature, and the only hosts that they may name: the public ones.
const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json", "uv.lock"];
const LOCK_HOSTS: &[&str] = &[
    "github.com",
    concat!("pypi", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("files.pythonhosted", ".org"),
];

#[test]
fn imports_point_down() {
    hold(|source| {
        let floor = source.floor();
        let Some(level) = level_of(floor) else { return vec![] };
        source
            .crate_imports()
            .into_iter()
            .filter(|name| name != floor && level_of(name).is_none_or(|below| below >= level))
            .map(|name| format!("{floor} imports crate::{name}"))
            .collect()
    });
}

#[test]
fn every_folder_is_a_floor() {
    hold(|source| match source.floor() {
        "lib.rs" => vec![],
        floor if level_of(floor).is_some() => vec![],
        floor => vec![format!("{floor} has no place among the floors")],
    });
}

#[test]
fn pure_floors_do_nothing() {
    hold(|source| {
        let is_pure = PURE.contains(&source.floor());
        IMPURE
            .iter()
            .filter(|name| is_pure && source.mentions(name))
            .map(|name| format!("{name} on a pure floor"))
            .collect()
    });
}

#[test]
fn only_the_sqlite_floor_is_unsafe() {
    hold(|source| match source.floor() {
        "sqlite" => vec![],
        _ if words(&source.code).any(|word| word == "unsafe") => vec!["unsafe".into()],
        _ => vec![],
    });
}

#[test]
fn nothing_is_unwrapped_or_left_to_do() {
    let banned = [".unwrap()", "todo!", "unimplemented!", "dbg!"];
    hold(|source| banned.iter().filter(|it| source.code.contains(**it)).map(|it| it.to_string()).collect());
}

#[test]
fn only_the_runtime_reads_the_clock() {
    let banned = ["Instant::now", "SystemTime::now"];
    hold(|source| {
        let elsewhere = source.floor() != "runtime" && !CLOCKS.contains(&source.name.as_str());
        banned.iter().filter(|it| elsewhere && source.code.contains(**it)).map(|it| it.to_string()).collect()
    });
}

#[test]
fn object_keys_are_spelled_in_one_file() {
    hold(|source| {
        let elsewhere = source.name != "bucket/key.rs";
        let keys = source.literals.iter().filter(|text| elsewhere && is_object_key(text));
        keys.map(|key| format!("the object key {key:?}")).collect()
    });
}

#[test]
fn lib_rs_holds_no_logic() {
    hold(|source| {
        let logic = ["fn", "struct", "enum", "trait", "impl", "const", "static", "macro_rules"];
        let is_lib = source.name == "lib.rs";
        words(&source.code).filter(|word| is_lib && logic.contains(word)).map(str::to_owned).collect()
    });
}

#[test]
fn files_and_functions_are_short() {
    let mut sizes = Vec::new();
    for source in sources() {
        sizes.push((source.name.clone(), source.code.trim_end().lines().count(), LONGEST_FILE, LONG_FILES));
        for Function { name, lines } in source.functions() {
            sizes.push((format!("{}::{name}", source.name), lines, LONGEST_FUNCTION, LONG_FUNCTIONS));
        }
    }
    let mut broken = Vec::new();
    for (name, lines, longest, known) in &sizes {
        match known.iter().find(|(long, _)| long == name) {
            None if lines > longest => {
                broken.push(format!("{name} has {lines} lines, {longest} are the limit"))
            }
            Some((_, was)) if lines > was => {
                broken.push(format!("{name} has grown to {lines} lines from {was}"))
            }
            Some((_, was)) if lines < was => {
                broken.push(format!("{name} has {lines} lines: lower its entry, {was}"))
            }
            None | Some(_) => {}
        }
    }
    for (long, _) in LONG_FILES.iter().chain(LONG_FUNCTIONS) {
        if !sizes.iter().any(|(name, ..)| name == long) {
            broken.push(format!("{long} is gone: remove its entry"));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let mut broken = Vec::new();
    for file in tracked_files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        let found: Vec<String> = if LOCK_FILES.contains(&file_name(&file)) {
            text.split("https://").skip(1).filter(|rest| !is_public_registry(rest)).map(first_line).collect()
        } else {
            let banned = MACHINE_PATHS.iter().chain(REGISTRY_HOSTS);
            banned.filter(|it| text.contains(**it)).map(|it| it.to_string()).collect()
        };
        broken.extend(found.iter().map(|what| format!("{}: {what}", file.display())));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_top_folder_holds_what_belongs_there() {
    let files = tracked_files();
    let names = files.iter().filter_map(|file| file.components().next());
    let strange: BTreeSet<_> = names
        .map(|name| name.as_os_str().to_string_lossy())
        .filter(|name| !TOP_LEVEL.contains(&&**name))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn the_rules_see_what_breaks_them() {
    let text = r##"
        //! crate::comment
        use crate::{types::Epoch, ltx::{self, decode}, database};
        use crate::wal::Salts;
        fn short() { let quote = '"'; let text = r#"crate::text } .ltx"#; /* unsafe */ unsafe { crate::sqlite::go() } }
        #[cfg(test)]
        mod tests { fn long() { x.unwrap() } use crate::runtime; }
        #[cfg(test)]
        mod other_tests;
        fn two<'a>(x: &'a str)
        { x.y();
        }
        trait T { fn none(&self); }
    "##;
    let source = Source::new("runtime/x.rs", text);
    let imports: Vec<_> = source.crate_imports().into_iter().collect();
    assert_eq!(imports, ["database", "ltx", "sqlite", "types", "wal"]);
    assert_eq!(source.literals, ["crate::text } .ltx"]);
    assert!(words(&source.code).any(|word| word == "unsafe") && !source.code.contains("unwrap"));
    assert_eq!(source.test_modules, ["other_tests"]);
    let functions: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.lines)).collect();
    assert_eq!(functions, [("short".to_owned(), 1), ("two".to_owned(), 3)]);
    assert!(is_object_key("{root}_floor") && is_object_key("0000/") && is_object_key("x.ltx"));
    assert!(!is_object_key("app.db.lost-1-2.ltx") && !is_object_key("a lease_record"));
    assert!(Source::new("a/b.rs", "let a = crate::x::Instant::now;").mentions("Instant"));
    assert!(!is_public_registry("mirror.internal/crates") && is_public_registry("github.com/rust-lang/"));
    assert!(level_of("database") > level_of("types") && level_of("lib.rs").is_none());
}

/// Fails with everything that `rule` says of the code under `core/src`, tests left out.
fn hold(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were not found");
    let broken: Vec<String> = sources
        .iter()
        .flat_map(|source| rule(source).into_iter().map(|what| format!("core/src/{}: {what}", source.name)))
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn level_of(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|folders| folders.contains(&floor))
}

fn is_object_key(text: &str) -> bool {
    let parts = ["_genesis", "_floor", "_probe/", "0000/", "ltx/"];
    let file = text.contains(".ltx") && !text.contains(".lost");
    file || parts.iter().any(|part| text.contains(part))
        || text.starts_with("_lease")
        || text.ends_with("/_lease")
}

fn is_public_registry(after_scheme: &str) -> bool {
    LOCK_HOSTS.iter().any(|host| after_scheme.strip_prefix(host).is_some_and(|rest| rest.starts_with('/')))
}

/// Every source file under `core/src` that is not a test as a whole.
fn sources() -> Vec<Source> {
    let folder = root().join("core/src");
    let mut files = Vec::new();
    collect(&folder, &mut files);
    files.sort();
    let read = |file: &PathBuf| {
        let name =
            file.strip_prefix(&folder).expect("a file below the folder").to_string_lossy().into_owned();
        Source::new(&name, &std::fs::read_to_string(file).expect("a readable source file"))
    };
    let all: Vec<Source> = files.iter().map(read).collect();
    let tests: Vec<String> = all.iter().flat_map(Source::test_paths).collect();
    let is_test = |source: &Source| {
        tests.iter().any(|test| {
            source.name.strip_prefix(test.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    all.into_iter().filter(|source| !is_test(source)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What git tracks, relative to the root of the repository.
fn tracked_files() -> Vec<PathBuf> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("file names in UTF-8");
    let files: Vec<PathBuf> = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    assert!(files.len() > 20, "git tracks next to nothing here");
    files
}

fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is")).join("..")
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
