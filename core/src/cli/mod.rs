//! The command line, `haqlite`: the library's tools for people and scripts.
//!
//! The binary calls [`run`], and so can every language's package. A command reads its arguments, calls the library
//! and prints what came of it; nothing is decided here.

mod arguments;
mod compact;
mod exit_code;
mod explain;
mod failure;
mod follow;
mod help;
mod info;
mod list;
mod output;
mod progress;
mod restore;
mod snapshot;
mod store_server;
mod text;
mod verify;
mod which_log;

use std::ffi::OsString;

use clap::Parser;

use arguments::{Arguments, Command};
use exit_code::ExitCode;
use failure::Failure;
use output::Output;

/// Runs the command that the arguments name, the first of which is the program's name, and gives the exit code.
///
/// Results go to the standard output, errors and progress to the standard error. It takes over SIGINT and SIGTERM
/// for `follow` and `store-server`, to the end of the process. The codes are those of `haqlite --help`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    let wants_json = args.iter().any(|arg| arg == "--json");
    let (output, result) = match Arguments::try_parse_from(args) {
        Ok(arguments) => {
            let output = Output::new(arguments.json);
            let result = perform(arguments.command, &output);
            (output, result)
        }
        Err(error) if !error.use_stderr() => {
            // `--help` and `--version` are answers.
            let output = Output::new(false);
            let told = output.text(&error.to_string()).map(|()| ExitCode::Ok);
            (output, told)
        }
        Err(error) => (Output::new(wants_json), Err(Failure::usage(&error))),
    };
    let code = match result {
        Ok(code) => code,
        Err(failure) => output.failure(&failure),
    };
    code as i32
}

fn perform(command: Command, output: &Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Restore(arguments) => restore::run(arguments, output),
        Command::List(arguments) => list::run(&arguments, output),
        Command::Info(arguments) => info::run(&arguments, output),
        Command::Verify(arguments) => verify::run(arguments, output),
        Command::Snapshot(arguments) => snapshot::run(&arguments, output),
        Command::Compact(arguments) => compact::run(&arguments, output),
        Command::Follow(arguments) => follow::run(&arguments, output),
        Command::Explain(arguments) => explain::run(&arguments, output),
        Command::StoreServer(arguments) => store_server::run(arguments, output),
    }
}
