//! The layers of ARCHITECTURE.md, kept: each module uses only what stands
//! below it, kinds do not know each other, and what runs kinds does not name
//! them. Only what is shipped counts: tests may look anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::files_below;

/// Which modules each module may use, besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ground", &[]),
    ("table", &["ground"]),
    ("text", &["ground"]),
    ("metrics", &["ground"]),
    ("memo", &["ground"]),
    ("people", &["ground"]),
    ("web", &["ground", "memo"]),
    ("model", &["ground", "table", "metrics"]),
    ("store", &["ground", "table"]),
    ("remote", &["ground", "store"]),
    ("sandbox", &["ground", "table"]),
    ("weights", &["ground", "model", "web"]),
    ("stage", &["ground", "table", "memo", "people", "model", "web"]),
    ("kinds", &["stage", "ground", "table", "metrics", "memo", "people", "model", "text", "web", "weights"]),
    ("pipeline", &["stage", "ground", "model", "web", "sandbox", "remote"]),
    ("drawing", &["ground", "pipeline"]),
    (
        "engine",
        &["pipeline", "stage", "ground", "table", "memo", "people", "model", "web", "sandbox", "store", "remote"],
    ),
    ("report", &["drawing", "engine", "pipeline", "stage", "ground", "table", "store", "web"]),
    ("view", &["drawing", "engine", "pipeline", "stage", "ground", "table", "store", "web"]),
    ("export", &["engine", "pipeline", "stage", "ground", "table", "web", "store"]),
    (
        "cli",
        &[
            "export", "report", "view", "engine", "pipeline", "kinds", "stage", "ground", "table", "metrics", "memo",
            "model", "people", "text", "web", "weights", "sandbox", "store", "remote",
        ],
    ),
];

/// A source file as it is shipped.
struct Source {
    /// Below `src/`.
    path: String,
    /// The module that it belongs to.
    module: String,
    /// Its text without comments and without its tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let shipped = files_below(&root, ".rs").into_iter().filter(|path| !is_test(path));
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let path = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        Source { path, module, code: shipped_code(&text) }
    };
    shipped.map(source).collect()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
        || path.file_stem().is_some_and(|stem| stem == "fixtures" || stem.to_string_lossy().ends_with("_tests"))
}

/// What comes before the tests, without comments.
fn shipped_code(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The names that follow `before` in the code: `crate::ground` gives `ground`,
/// and `crate::{ground, table}` both.
fn names_after(code: &str, before: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(before) {
        if code[..at].ends_with(is_name) || code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + before.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(heads_of_group(group));
        } else {
            names.insert(rest.chars().take_while(|c| is_name(*c)).collect());
        }
    }
    names
}

/// The first names in `a::b, c::{d, e}}…`: `a` and `c`.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = vec![String::new()];
    let (mut depth, mut in_head) = (0, true);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(String::new());
                in_head = true;
            }
            ':' => in_head = false,
            c if depth == 0 && in_head && !c.is_whitespace() => heads.last_mut().expect("a head").push(c),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[test]
fn each_module_uses_only_what_stands_below_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !matches!(source.module.as_str(), "lib" | "main")) {
        let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == source.module) else {
            wrong.push(format!("src/{} is in no layer of this test's table", source.path));
            continue;
        };
        for used in names_after(&source.code, "crate::") {
            if used != source.module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("src/{} uses crate::{used}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn kinds_do_not_use_each_other() {
    let sources = sources();
    let kinds: Vec<&Source> = sources.iter().filter(|source| source.module == "kinds").collect();
    let name = |source: &Source| source.path.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs").to_owned();
    let of_kinds: BTreeSet<String> =
        kinds.iter().filter(|source| source.code.contains("impl StageKind for")).map(|source| name(source)).collect();
    let mut wrong = Vec::new();
    for source in kinds.iter().filter(|source| source.path != "kinds/mod.rs") {
        let mut used = names_after(&source.code, "crate::kinds::");
        let is_direct = source.path.matches('/').count() == 1 || source.path.ends_with("/mod.rs");
        if is_direct {
            used.extend(names_after(&source.code, "super::"));
        }
        let others = used.iter().filter(|used| **used != name(source) && of_kinds.contains(*used));
        wrong.extend(others.map(|other| format!("src/{} uses the kind {other}", source.path)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_runs_kinds_does_not_name_them() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| matches!(source.module.as_str(), "engine" | "pipeline" | "drawing" | "view" | "cli"))
    {
        for kind in refrain::kinds::KINDS {
            if source.code.contains(&format!("\"{}\"", kind.name())) {
                wrong.push(format!("src/{} names the kind {}", source.path, kind.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// So that their laws can be tested step by step: whoever calls them brings the
/// time, and nothing goes on behind a call. Their tests are held to it as well,
/// but for those that measure.
#[test]
fn the_store_and_the_scheduler_have_neither_a_runtime_nor_a_clock_of_their_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let meant = |path: &Path| {
        let path = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        (path.starts_with("store/") || path.starts_with("engine/scheduler")) && !path.ends_with("speed_tests.rs")
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files_below(&root, ".rs").into_iter().filter(|path| meant(path)) {
        let text = fs::read_to_string(&path).expect("a source file");
        seen += 1;
        for word in ["tokio", "async ", ".await", "Instant", "SystemTime", "sleep(", "thread::spawn"] {
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            wrong.extend(lines.filter(|line| line.contains(word)).map(|line| format!("{}: {line}", path.display())));
        }
    }
    assert!(seen > 10 && wrong.is_empty(), "{seen} files, {}", wrong.join("\n"));
}

#[test]
fn uses_are_found_in_all_their_forms() {
    let code = "use crate::{ground::{Clock, Seed}, table};\nlet x = crate::web::Session::closed(); use dcrate::no;";
    assert_eq!(names_after(code, "crate::"), ["ground", "table", "web"].map(String::from).into());
    assert_eq!(shipped_code("a\n// b\n#[cfg(test)]\nc"), "a");
}
