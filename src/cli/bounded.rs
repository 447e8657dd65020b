//! Little memory for questions about large artifacts. How much Polars and the
//! system's allocator take is set by variables that they read when a process
//! starts, so the program starts itself once more with them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Says that the variables are set.
const DONE: &str = "REFRAIN_BOUNDED";

/// What is set, unless the user has set it.
const VARIABLES: [(&str, &str); 5] = [
    // What is freed goes back to the system, and threads do not keep shares of it.
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ("MALLOC_ARENA_MAX", "2"),
    ("POLARS_IDEAL_MORSEL_SIZE", "16384"),
    ("POLARS_ROW_GROUP_PREFETCH_SIZE", "2"),
    // Groups that each thread keeps at hand, so that it needs not keep their rows.
    ("POLARS_HOT_TABLE_SIZE", "65536"),
];

/// Each thread of Polars has rows of its own in hand: no more than this, nor than there are cores.
const MOST_THREADS: usize = 3;

/// Starts the program anew, in the same process, with its memory bounded. Comes
/// back where that is done already or cannot be done.
pub(super) fn start_anew(arguments: &[OsString]) {
    if std::env::var_os(DONE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = Command::new(program);
    command.args(arguments.iter().skip(1)).env(DONE, "1");
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS)).to_string();
    for (name, value) in VARIABLES.into_iter().chain([("POLARS_MAX_THREADS", threads.as_str())]) {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    // It only comes back with an error; without the bounds all works as well.
    drop(command.exec());
}
