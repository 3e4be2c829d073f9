//! The check on small workspaces, and on this one.

use super::*;

const PAGE: &str = "../ARCHITECTURE.md";

/// A list of ranks as the page shows it.
fn shown(order: Order<'_>) -> String {
    let line = |(index, names): (usize, &&[&str])| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("{}. {}\n", index + 1, names.join(", "))
    };
    order.iter().enumerate().map(line).collect()
}

#[test]
fn no_import_of_the_workspace_goes_up_or_closes_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("there");
    let mut faults = check(&root, RANKS).expect("a workspace");
    faults.extend(needless_ranks(&root, RANKS).expect("a workspace"));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_architecture_page_lists_the_ranks() {
    let mut page = std::fs::read_to_string(PAGE).expect("ARCHITECTURE.md");
    for (name, order) in [&[("crates", RANKS.crates)], RANKS.modules].concat() {
        let begin = format!("<!-- ranks: {name} -->\n");
        let (before, rest) = page.split_once(&begin).expect("where the list begins");
        let (found, after) = rest.split_once("<!-- end of ranks -->\n").expect("its end");
        let expected = format!("\n{}\n", shown(order));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            page = [before, &begin, &expected, "<!-- end of ranks -->\n", after].concat();
            std::fs::write(PAGE, &page).expect("writes");
        } else {
            assert_eq!(found, expected, "UPDATE_DOCS=1 cargo test -p xtask updates it");
        }
    }
}

#[test]
fn a_rank_without_a_crate_or_module_is_named() {
    let fixture = Fixture::new(
        &[("house", &[])],
        &[("house/src/lib.rs", "mod cellar;\n"), ("house/src/cellar.rs", "")],
    );
    let root = fixture.folder.path().canonicalize().expect("there");
    let needless = |ranks| needless_ranks(&root, ranks).expect("a workspace");
    let faults = needless(HOUSE);
    assert_one_fault(
        &faults,
        &["house/src/lib.rs:1:", "module `hall` of house", "does not exist", "ranks.rs"],
    );
    let ranks = Ranks { crates: &[&["house"], &["shed"]], modules: &[] };
    assert_one_fault(&needless(ranks), &["Cargo.toml:1:", "crate `shed`", "does not exist"]);
}

/// A workspace with these files. Crates get their manifest from their name and what they need.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(crates: &[(&str, &[&str])], files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fixture = Self { folder };
        let names: Vec<String> = crates.iter().map(|(name, _)| format!("{name:?}")).collect();
        let members = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", names.join(", "));
        fixture.write("Cargo.toml", &members);
        for (name, needs) in crates {
            let mut manifest =
                format!("[package]\nname = {name:?}\nversion = \"0.1.0\"\n\n[dependencies]\n");
            for needed in *needs {
                manifest.push_str(&format!("{needed} = {{ path = \"../{needed}\" }}\n"));
            }
            fixture.write(&format!("{name}/Cargo.toml"), &manifest);
            fixture.write(&format!("{name}/src/lib.rs"), "");
        }
        files.iter().for_each(|(name, text)| fixture.write(name, text));
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("created");
        std::fs::write(file, text).expect("written");
    }

    fn faults(&self, ranks: Ranks<'_>) -> Vec<String> {
        // The folder's own name may be a link to it, as on macOS.
        let root = self.folder.path().canonicalize().expect("there");
        check(&root, ranks).expect("a workspace")
    }
}

const NONE: Ranks<'static> = Ranks { crates: &[], modules: &[] };

const HOUSE: Ranks<'static> =
    Ranks { crates: &[], modules: &[("house", &[&["cellar"], &["hall"], &["lib"]])] };

#[track_caller]
fn assert_one_fault(faults: &[String], parts: &[&str]) {
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for part in parts {
        assert!(faults[0].contains(part), "{part} in {}", faults[0]);
    }
}

#[test]
fn an_import_that_goes_up_is_named_with_line_ranks_and_remedy() {
    for import in [
        "use crate::hall::Lamp;",
        "use super::hall::Lamp;",
        "fn f() { crate::hall::light(); }",
        "fn f() { println!(\"{}\", crate::hall::light()); }",
        "#[serde(with = \"crate::hall\")] struct A;",
        "use crate::{hall::{Lamp as Bulb}};",
    ] {
        let fixture = Fixture::new(
            &[("house", &[])],
            &[
                ("house/src/lib.rs", "mod cellar;\nmod hall;\n"),
                ("house/src/cellar.rs", &format!("//! Below.\n\n{import}\n")),
                ("house/src/hall.rs", "pub struct Lamp;\npub fn light() {}\n"),
            ],
        );
        let remedy = "move the definition to a module of a lower rank than 1";
        let parts = ["house/src/cellar.rs:3:", "`cellar` (rank 1)", "from `hall` (rank 2)", remedy];
        assert_one_fault(&fixture.faults(HOUSE), &parts);
        assert_eq!(fixture.faults(NONE), [""; 0], "{import}: without ranks there is nothing above");
    }
}

#[test]
fn a_module_without_a_rank_is_named() {
    let fixture = Fixture::new(
        &[("house", &[])],
        &[
            ("house/src/lib.rs", "mod attic;\nmod hall;\n"),
            ("house/src/attic.rs", "use crate::hall::Lamp;\n"),
            ("house/src/hall.rs", "pub struct Lamp;\n"),
        ],
    );
    let parts = ["house/src/attic.rs:1:", "module `attic`", "xtask/src/layers/ranks.rs"];
    assert_one_fault(&fixture.faults(HOUSE), &parts);
}

#[test]
fn a_circle_of_files_is_named_with_every_import_on_it() {
    let fixture = Fixture::new(
        &[("house", &[])],
        &[
            ("house/src/lib.rs", "mod hall;\n"),
            ("house/src/hall.rs", "mod door;\nmod stair;\n"),
            ("house/src/hall/door.rs", "\nuse super::stair::Step;\npub struct Key;\n"),
            ("house/src/hall/stair.rs", "use crate::hall::door::Key;\npub struct Step;\n"),
        ],
    );
    let parts = [
        "house/src/hall/door.rs:2: imports `super::stair::Step`",
        "house/src/hall/stair.rs:1: imports `crate::hall::door::Key`",
        "circle of 2 files",
        "move what they share",
    ];
    assert_one_fault(&fixture.faults(HOUSE), &parts);
}

#[test]
fn a_circle_through_a_re_export_is_one_of_the_files_that_define() {
    let fixture = Fixture::new(
        &[("house", &[])],
        &[
            ("house/src/lib.rs", "mod hall;\n"),
            (
                "house/src/hall.rs",
                "mod door;\nmod stair;\npub use door::Key;\npub use stair::Step;\n",
            ),
            ("house/src/hall/door.rs", "use super::Step;\npub struct Key;\n"),
            ("house/src/hall/stair.rs", "use super::Key;\npub struct Step;\n"),
        ],
    );
    assert_one_fault(&fixture.faults(HOUSE), &["circle of 2 files", "door.rs:1", "stair.rs:1"]);
}

#[test]
fn the_module_around_is_a_scope_and_what_is_further_out_is_not() {
    let files = |import: &'static str| {
        [
            ("house/src/lib.rs", "mod hall;\n"),
            ("house/src/hall.rs", "mod door;\nuse self::door::Key;\npub struct Lamp(Key);\n"),
            ("house/src/hall/door.rs", "mod lock;\npub struct Key(lock::Lock);\n"),
            ("house/src/hall/door/lock.rs", import),
        ]
    };
    let crates: [(&str, &[&str]); 1] = [("house", &[])];
    let scope = Fixture::new(&crates, &files("use super::Key;\npub struct Lock;\n"));
    assert_eq!(scope.faults(HOUSE), [""; 0]);
    let further = Fixture::new(&crates, &files("use super::super::Lamp;\npub struct Lock;\n"));
    assert_one_fault(&further.faults(HOUSE), &["lock.rs:1:", "circle of 3 files"]);
}

#[test]
fn tests_may_import_what_they_like() {
    let fixture = Fixture::new(
        &[("house", &[])],
        &[
            ("house/src/lib.rs", "mod cellar;\nmod hall;\n"),
            (
                "house/src/cellar.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::hall::Lamp;\n}\n#[cfg(test)]\nuse crate::hall::Lamp;\n\
             struct A;\nimpl A {\n    #[cfg(test)]\n    fn f() { crate::hall::light() }\n}\n",
            ),
            ("house/src/hall.rs", "use crate::cellar::A;\npub struct Lamp;\n"),
        ],
    );
    assert_eq!(fixture.faults(HOUSE), [""; 0]);
}

#[test]
fn a_dependency_that_goes_up_and_a_circle_of_crates_are_named() {
    let crates: [(&str, &[&str]); 2] = [("upper", &["lower"]), ("lower", &["upper"])];
    let fixture = Fixture::new(&crates, &[]);
    let ranks = Ranks { crates: &[&["lower"], &["upper"]], modules: &[] };
    let faults = fixture.faults(ranks);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    let up = "lower/Cargo.toml:6: crate `lower` (rank 1) depends on `upper` (rank 2): move what both need";
    assert!(faults[0].contains(up), "{}", faults[0]);
    let circle = "lower/Cargo.toml:6: crates depend on each other in a circle: lower -> upper -> lower: move";
    assert!(faults[1].contains(circle), "{}", faults[1]);
}
