//! `refrain completions SHELL`: a script that completes commands and options in
//! a shell. It is made of clap's definitions; what completes the stages of a
//! pipeline is added here, and asks `refrain completions --stages LINE`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use super::arguments::{Arguments, CompletionsArguments};
use super::errors::Exit;
use super::terminal::data;
use super::words::pipeline_file;
use crate::kinds::KINDS;
use crate::pipeline::load;

/// A hint that no argument of refrain's has for itself. What the scripts do
/// about it is replaced by the completion of stages.
const STANDS_FOR_STAGES: ValueHint = ValueHint::Username;

const ZSH: &str = r#"
(( $+functions[_refrain_stages] )) ||
_refrain_stages() {
    local -a stages
    stages=(${(f)"$(refrain completions --stages "${words[*]}" 2>/dev/null)"})
    compadd -a stages
    _files -g '*.(yaml|yml)'
}
"#;

const FISH: &str = "
function __refrain_stages
    refrain completions --stages (commandline -cp | string collect) 2>/dev/null
end
";

/// Prints the script of a shell, or the stages that may stand in a line.
///
/// # Errors
/// If it cannot be printed.
pub(super) fn completions(arguments: &CompletionsArguments) -> anyhow::Result<Exit> {
    let text = match (&arguments.stages, arguments.shell) {
        (Some(line), _) => stages(line).join("\n"),
        (None, Some(shell)) => script(shell),
        (None, None) => String::new(),
    };
    if !text.is_empty() {
        data(&text)?;
    }
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let mut command = marked(Arguments::command());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "refrain", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + &bash(&command),
        // What follows the functions runs them: ours must stand before that.
        Shell::Zsh => {
            let (head, rest) = script.split_once('\n').unwrap_or((&script, ""));
            format!("{head}\n{ZSH}\n{}", rest.replace("_users", "_refrain_stages"))
        }
        Shell::Fish => fish(&script, &command),
        _ => script,
    }
}

/// The command with a hint on every argument that names a stage.
fn marked(command: Command) -> Command {
    let mark = |arg: Arg| if takes_stage(&arg) { arg.value_hint(STANDS_FOR_STAGES) } else { arg };
    command.mut_args(mark).mut_subcommands(marked)
}

fn takes_stage(arg: &Arg) -> bool {
    arg.get_value_names().into_iter().flatten().any(|name| name.contains("STAGE"))
}

/// Which options take a stage, and after which commands one may stand by itself.
fn where_stages_stand(command: &Command) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut options, mut commands) = (BTreeSet::new(), BTreeSet::new());
    let mut waiting: Vec<(String, &Command)> =
        command.get_subcommands().map(|command| (command.get_name().to_owned(), command)).collect();
    while let Some((name, command)) = waiting.pop() {
        for arg in command.get_arguments().filter(|arg| takes_stage(arg)) {
            options.extend(arg.get_long().map(|long| format!("--{long}")));
            options.extend(arg.get_short().map(|short| format!("-{short}")));
            if arg.is_positional() {
                commands.insert(name.clone());
            }
        }
        waiting.extend(command.get_subcommands().map(|below| (format!("{name} {}", below.get_name()), below)));
    }
    (options, commands)
}

/// A function around clap's, which adds the stages.
fn bash(command: &Command) -> String {
    let (options, commands) = where_stages_stand(command);
    let options = options.into_iter().collect::<Vec<_>>().join("|");
    let pattern = |name: String| if name.contains(' ') { format!("\"{name}\"") } else { format!("\"{name} \"*") };
    let commands = commands.into_iter().map(pattern).collect::<Vec<_>>().join("|");
    format!(
        r#"
# Adds the stages of the pipeline that the line names. The line is taken apart
# anew, for bash takes `stage@VARIANT` for three words.
_refrain_with_stages() {{
    _refrain "$@"
    local line="${{COMP_LINE:0:COMP_POINT}}" word before
    local -a words
    read -ra words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    word="${{words[-1]}}"
    before="${{words[-2]}}"
    case "$before" in
        {options}) COMPREPLY=() ;;
        *)
            case "${{words[1]}} ${{words[2]}}" in
                {commands}) ;;
                *) return 0 ;;
            esac
            ;;
    esac
    [[ "$word" == -* ]] && return 0
    local stages kept="${{word%"$2"}}"
    stages="$(refrain completions --stages "$line" 2>/dev/null)"
    mapfile -t words < <(compgen -W "$stages" -- "$word")
    COMPREPLY+=("${{words[@]#"$kept"}}")
}}
complete -F _refrain_with_stages -o bashdefault -o default refrain
"#
    )
}

/// clap's script completes no words that stand by themselves: these are added.
fn fish(script: &str, command: &Command) -> String {
    let (_, commands) = where_stages_stand(command);
    let mut text = format!("{}{FISH}", script.replace("__fish_complete_users", "__refrain_stages"));
    for name in commands {
        let condition = name.replacen(' ', "; and __fish_seen_subcommand_from ", 1);
        let condition = format!("__fish_refrain_using_subcommand {condition}");
        writeln!(text, "complete -c refrain -n \"{condition}\" -k -a \"(__refrain_stages)\"").ok();
    }
    text
}

/// The stages and instances of the pipeline that a line names, else of the
/// default one; none where that cannot be read, for nobody could be told.
fn stages(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_pipeline = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let named = words.iter().map(PathBuf::from).rfind(is_pipeline);
    let set = words.windows(2).filter(|pair| pair[0] == "--set").filter_map(|pair| pair[1].split_once('='));
    let variables: BTreeMap<String, String> = set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let pipeline = pipeline_file(named).ok().and_then(|file| load(&file, &variables, KINDS).ok());
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    for instance in pipeline.iter().flat_map(|pipeline| &pipeline.instances) {
        names.extend(
            [instance.id.stage.clone(), instance.id.to_string()].into_iter().filter(|name| seen.insert(name.clone())),
        );
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_stage_may_stand_is_found_in_the_definitions() {
        let (options, commands) = where_stages_stand(&Arguments::command());
        for option in ["--target", "-t", "--force", "--stage"] {
            assert!(options.contains(option), "{option} is not in {options:?}");
        }
        for command in ["why", "show", "memo lacks"] {
            assert!(commands.contains(command), "{command} is not in {commands:?}");
        }
        assert!(!commands.contains("run"));
    }

    #[test]
    fn every_shell_has_its_script_and_three_complete_stages() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            assert!(script.contains("refrain completions --stages"), "{shell}");
            assert!(!script.contains("_users"), "{shell}: {script}");
        }
        for shell in [Shell::PowerShell, Shell::Elvish] {
            assert!(script(shell).contains("over-budget"), "{shell}");
        }
    }
}
