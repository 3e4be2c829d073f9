//! What a Dockerfile says about its image, in addition to the files.

/// Instructions that `docker import --change` knows.
const SETTINGS: [&str; 6] = ["ENTRYPOINT", "ENV", "EXPOSE", "USER", "VOLUME", "WORKDIR"];

/// The settings of a Dockerfile's image, each on one line.
pub(crate) fn settings(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let lines: Vec<&str> = text.lines().collect();
    let stage = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap_or_default();
    let is_setting = |line: &&&str| SETTINGS.contains(&line.split(' ').next().unwrap_or_default());
    let settings = lines[stage..].iter().filter(is_setting);
    settings.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_settings_of_the_last_stage_are_taken() {
        let text = "FROM a AS b\nUSER 1\nFROM c\n# ENV X=1\nRUN x \\\n    && y\nENV A=1 \\\n    B='[\"c d\"]'\nUSER 2:2\n\
                    ENTRYPOINT [\"/x\"]\n";
        let wanted = ["ENV A=1 B='[\"c d\"]'", "USER 2:2", "ENTRYPOINT [\"/x\"]"];
        assert_eq!(settings(text), wanted);
    }
}
