//! Whether this process runs in a container, and in which.

use std::fs;

use super::Machine;

/// Files that engines create in their containers: Docker, Podman, Kubernetes.
const SIGNS: [&str; 3] = [".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"];

/// Length of a container's id.
const ID_LENGTH: usize = 64;

impl Machine {
    /// Whether this process runs in a container.
    #[must_use]
    pub fn is_container(&self) -> bool {
        SIGNS.iter().any(|sign| self.root.join(sign).exists())
    }

    /// A name by which the engine knows this container: its id, from the files that the engine mounts into it, else its
    /// host name, which is the id's beginning unless another was chosen.
    #[must_use]
    pub fn container(&self) -> Option<String> {
        let mounts = fs::read_to_string(self.root.join("proc/self/mountinfo")).ok();
        mounts.as_deref().and_then(id_in).or_else(|| {
            let name = fs::read_to_string(self.root.join("etc/hostname")).ok()?;
            Some(name.trim().to_owned()).filter(|name| !name.is_empty())
        })
    }
}

/// The id in a path such as `/var/lib/docker/containers/ID/hostname`.
fn id_in(mounts: &str) -> Option<String> {
    mounts.split("containers/").skip(1).find_map(|rest| {
        let id = rest.split('/').next().filter(|id| id.len() == ID_LENGTH)?;
        id.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| id.to_owned())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_recognised_by_the_files_of_its_engine() {
        for sign in SIGNS {
            let root = tempfile::tempdir().unwrap();
            assert!(!Machine::at(root.path()).is_container());
            fs::create_dir_all(root.path().join(sign)).unwrap();
            assert!(Machine::at(root.path()).is_container(), "{sign}");
        }
    }

    #[test]
    fn its_id_is_found_in_the_mounts_else_its_host_name_serves() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        assert_eq!(machine.container(), None);
        for folder in ["etc", "proc/self"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("etc/hostname"), "0123456789ab\n").unwrap();
        assert_eq!(machine.container().unwrap(), "0123456789ab");
        let id = "0123456789abcdef".repeat(4);
        let mounts = format!(
            "600 598 0:52 / / rw - overlay overlay rw,upperdir=/var/lib/containers/storage/x\n\
             612 600 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"
        );
        fs::write(root.path().join("proc/self/mountinfo"), mounts).unwrap();
        assert_eq!(machine.container().unwrap(), id);
    }
}
