//! Main memory: what the machine has, and what its control group allows.

use std::fs;
use std::path::{Component, Path};

use super::{Finding, Machine, size};

/// What a Core proof on the CPU takes.
const CORE_BYTES: u64 = 10_000_000_000;

/// What a Compressed proof on the CPU takes.
const COMPRESSED_BYTES: u64 = 18_000_000_000;

/// What the execution of a long program takes: both slots of SP1's ring of traces, 2.2 GiB each, and the program's own
/// memory.
const EXECUTION_BYTES: u64 = 6 << 30;

/// Main memory in bytes, 0 if unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainMemory {
    /// Memory of the machine.
    pub total: u64,
    /// Lowest limit of the control groups that this process is in, if it is below the machine's memory.
    pub limit: Option<u64>,
}

impl MainMemory {
    /// What this process can use.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.limit.unwrap_or(self.total)
    }

    fn describe(self) -> String {
        match self.limit {
            Some(limit) => format!(
                "{}, the limit of this process's control group, of the machine's {}",
                size(limit),
                size(self.total)
            ),
            None => size(self.total),
        }
    }
}

impl Machine {
    /// Main memory of the machine, and the limit of the control group.
    #[must_use]
    pub fn memory(&self) -> MainMemory {
        let total = self.total_memory().unwrap_or(0);
        let limit = self.memory_limit().filter(|limit| *limit < total || total == 0);
        MainMemory { total, limit }
    }

    fn total_memory(&self) -> Option<u64> {
        let text = fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        let rest = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    }

    /// The lowest limit of the control groups of this process and their parents, in version 2 and 1.
    fn memory_limit(&self) -> Option<u64> {
        let groups = fs::read_to_string(self.root.join("proc/self/cgroup")).ok()?;
        let mounted = self.root.join("sys/fs/cgroup");
        let limits = groups.lines().filter_map(|line| {
            // Number of the hierarchy, its controllers, path. Version 2 names no controllers.
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            if controllers.is_empty() {
                return lowest(&mounted, path, "memory.max");
            }
            let of_memory = controllers.split(',').any(|controller| controller == "memory");
            of_memory.then(|| lowest(&mounted.join("memory"), path, "memory.limit_in_bytes"))?
        });
        limits.min()
    }
}

/// The lowest number in `file` of the group at `path` and of its parents. A container sees its own group as the root,
/// and may be given the host's path of it, which it does not have.
fn lowest(mounted: &Path, path: &str, file: &str) -> Option<u64> {
    let names = Path::new(path).components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut folders = vec![mounted.to_owned()];
    for name in names {
        let below = folders[folders.len() - 1].join(name);
        folders.push(below);
    }
    let limit = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    folders.iter().filter_map(|folder| limit(folder)).min()
}

/// Whether the memory suffices for proofs in this process, or for executions alone.
pub(super) fn judge(memory: MainMemory, proves_here: bool, beyond_core: bool) -> Finding {
    let what = "memory";
    let (bytes, text) = (memory.bytes(), memory.describe());
    let remedy = match memory.limit {
        Some(_) => "raise the limit (Docker: `--memory`, Kubernetes: `resources.limits.memory`)",
        None => "use a larger machine",
    };
    match (proves_here, bytes) {
        (_, 0) => Finding::warning(what, "unknown: /proc/meminfo cannot be read"),
        (true, ..CORE_BYTES) => Finding::failed(
            what,
            format!("main memory is {text}: a Core proof on the CPU takes 10 GB; {remedy}"),
        ),
        (true, ..COMPRESSED_BYTES) if beyond_core => Finding::warning(
            what,
            format!(
                "{text}: a Compressed proof on the CPU takes 18 GB; name core alone in `modes`, or {remedy}"
            ),
        ),
        (false, ..EXECUTION_BYTES) => Finding::warning(
            what,
            format!("{text}: the execution of a long program takes 6 GiB; {remedy}"),
        ),
        _ => Finding::passed(what, text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::machine::Verdict;

    const GIB: u64 = 1 << 30;

    /// A root folder with these files.
    fn machine(files: &[(&str, &str)]) -> (TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       67108864 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let machine = Machine::at(root.path());
        (root, machine)
    }

    fn limit(files: &[(&str, &str)]) -> Option<u64> {
        let (_root, machine) = machine(files);
        let memory = machine.memory();
        assert_eq!(memory.total, 64 * GIB);
        assert_eq!(memory.bytes(), memory.limit.unwrap_or(64 * GIB));
        memory.limit
    }

    #[test]
    fn the_lowest_limit_on_the_path_of_version_2_counts() {
        let at = |path| ("proc/self/cgroup", path);
        let own = ("sys/fs/cgroup/pods.slice/one/memory.max", "max\n");
        let parent = ("sys/fs/cgroup/pods.slice/memory.max", "34359738368\n");
        let other = ("sys/fs/cgroup/pods.slice/two/memory.max", "1\n");
        let path = at("0::/pods.slice/one\n");
        assert_eq!(limit(&[path, own, parent, other]), Some(32 * GIB));
        let own = (own.0, "8589934592\n");
        assert_eq!(limit(&[path, own, parent, other]), Some(8 * GIB));
        // As a container with a namespace of its own sees it, and one that is given the host's path.
        let root = ("sys/fs/cgroup/memory.max", "17179869184\n");
        assert_eq!(limit(&[at("0::/\n"), root]), Some(16 * GIB));
        assert_eq!(limit(&[at("0::/docker/0123\n"), root]), Some(16 * GIB));
        assert_eq!(limit(&[at("0::/../../one\n"), root]), Some(16 * GIB));
    }

    #[test]
    fn the_limit_of_version_1_counts_and_an_unlimited_one_does_not() {
        let group = ("proc/self/cgroup", "12:cpu,cpuacct:/a\n5:hugetlb,memory:/a\n0::/\n");
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(&[group, unlimited]), None);
        let own = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4294967296\n");
        assert_eq!(limit(&[group, unlimited, own]), Some(4 * GIB));
        // A limit of another controller with that name is none of memory.
        let cpu_only = ("proc/self/cgroup", "12:cpu,cpuacct:/a\n");
        assert_eq!(limit(&[cpu_only, own]), None);
    }

    #[test]
    fn without_control_groups_the_machine_s_memory_counts() {
        assert_eq!(limit(&[]), None);
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(Machine::at(nothing.path()).memory(), MainMemory { total: 0, limit: None });
        assert!(Machine::default().memory().bytes() > 0, "this machine has memory");
    }

    #[test]
    fn proofs_on_the_cpu_need_most_and_a_limit_comes_with_its_remedy() {
        let verdict = |bytes, proves_here, beyond_core| {
            judge(MainMemory { total: bytes, limit: None }, proves_here, beyond_core).verdict
        };
        assert_eq!(verdict(9 * GIB, true, false), Verdict::Failed);
        assert_eq!(verdict(10 * GIB, true, false), Verdict::Passed);
        assert_eq!(verdict(10 * GIB, true, true), Verdict::Warning);
        assert_eq!(verdict(17 * GIB, true, true), Verdict::Passed);
        assert_eq!(verdict(5 * GIB, false, true), Verdict::Warning);
        assert_eq!(verdict(6 * GIB, false, true), Verdict::Passed);
        assert_eq!(verdict(0, true, true), Verdict::Warning);
        let limited = MainMemory { total: 512 * GIB, limit: Some(4 * GIB) };
        let text = judge(limited, true, true).text;
        assert!(text.contains("4 GiB, the limit of this process's control group"), "{text}");
        assert!(text.contains("512 GiB") && text.contains("`--memory`"), "{text}");
    }
}
