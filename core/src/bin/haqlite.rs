//! The command line: `haqlite --help`.

fn main() {
    std::process::exit(haqlite::cli::run(std::env::args_os()));
}
