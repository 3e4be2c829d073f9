//! `docs/configuration.md` is made from the commented files that `init` writes, which the programs' own
//! tests hold to their configuration structs.

use network_lib::config::template::{Key, Section, sections};

const PAGE: &str = "../docs/configuration.md";

const HIEROPHANT: &str = include_str!("../../hierophant/hierophant.example.toml");

const CONTEMPLANT: &str = include_str!("../../contemplant/contemplant.example.toml");

const INTRODUCTION: &str = "\
# Configuration

Every key of both programs. `hierophant init` and `contemplant init` write the same as commented files. Each key
is optional, and an environment variable overrides it: the program's name and the key in capitals, with two
underscores for a dot, such as `HIEROPHANT_GRPC_PORT` or `HIEROPHANT_WORKER_REGISTRY__MAX_WORKERS`. Values are
read as TOML; what is not TOML is a text. A wrong file or variable is refused at the start, with all faults at once.

These variables are read too:

| Variable | Meaning |
|---|---|
| `RUST_LOG` | what is logged, by level and module, such as `info,hierophant::proofs=debug`. Default `info` |
| `HIEROPHANT_TOKEN` | the token that commands of `hierophant` present. Default: none is presented. See \
[operator-guide.md](operator-guide.md) |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | where traces are sent by OTLP over HTTP with protobuf, such as `http://localhost:4318`. \
Default: none are. See [operator-guide.md](operator-guide.md) |
| `OTEL_…` | what else OpenTelemetry defines for that: `OTEL_EXPORTER_OTLP_HEADERS`, \
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…` |
";

fn row(key: &Key) -> String {
    let default = key.default.clone().unwrap_or_else(|| format!("`{}`", key.value));
    let example = match key.default {
        Some(_) => format!(" Example: `{}`", key.value),
        None => String::new(),
    };
    let cells = [format!("`{}`", key.name), default, format!("{}{example}", key.meaning)];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn part(program: &str, template: &str) -> String {
    let mut text = format!("\n## `{program}.toml`\n");
    for Section { name, about, keys } in sections(template) {
        if !name.is_empty() {
            text.push_str(&format!("\n### `[{name}]`\n"));
            if !about.is_empty() {
                text.push_str(&format!("\n{about}\n"));
            }
        }
        text.push_str("\n| Key | Default | Meaning |\n|---|---|---|\n");
        text.extend(keys.iter().map(row));
    }
    text
}

/// `UPDATE_DOCS=1 cargo test -p network-lib --test configuration_page` writes it.
#[test]
fn the_documentation_names_every_key() {
    let parts = [part("hierophant", HIEROPHANT), part("contemplant", CONTEMPLANT)];
    let wanted = format!("{INTRODUCTION}{}", parts.concat());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &wanted).expect("writes");
    }
    assert_eq!(std::fs::read_to_string(PAGE).expect("there"), wanted, "run it with UPDATE_DOCS=1");
}

#[test]
fn every_key_says_what_it_means() {
    for (program, template) in [("hierophant", HIEROPHANT), ("contemplant", CONTEMPLANT)] {
        for section in sections(template) {
            assert!(!section.keys.is_empty(), "{program}: [{}] has no keys", section.name);
            for Key { name, meaning, .. } in section.keys {
                assert!(!meaning.is_empty(), "{program}: {name} has no paragraph of its own");
            }
        }
    }
}
