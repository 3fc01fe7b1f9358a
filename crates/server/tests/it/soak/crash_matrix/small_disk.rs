//! A disk for the journal alone, so small that it can be filled. It is mounted in a namespace that outlives the server.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::in_the_place_of;
use crate::process::Process;
use crate::wait;

pub struct SmallDisk {
    holder: Process,
    directory: PathBuf,
}

impl SmallDisk {
    pub async fn mount(directory: &Path) -> Self {
        fs::create_dir(directory).unwrap();
        let mut unshare = Command::new("unshare");
        // With the rights that a user has over a namespace of his own when the tests do not run as root.
        unshare.args(if is_root() { [].as_slice() } else { &["--user", "--map-root-user"] });
        let script =
            "mount -t tmpfs -o size=1m,mode=0700 small \"$1\" && echo mounted && exec sleep infinity";
        unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(directory);
        let mut holder = Process::spawn(&mut unshare);
        wait::until("the small disk is mounted", async || {
            assert!(holder.ended().is_none(), "{}", holder.err());
            holder.out().contains("mounted").then_some(())
        })
        .await;
        Self { holder, directory: directory.canonicalize().unwrap() }
    }

    /// The same command, where the disk is mounted.
    pub fn inside(&self, serve: &Command) -> Command {
        let namespace = |name: &str| format!("/proc/{}/ns/{name}", self.holder.id());
        let mut nsenter = Command::new("nsenter");
        if !is_root() {
            nsenter.arg(format!("--user={}", namespace("user"))).arg("--preserve-credentials");
        }
        nsenter.arg(format!("--mount={}", namespace("mnt")));
        // Entering a namespace leads to its root.
        nsenter.args(["sh", "-c", "cd \"$1\" && exec \"$2\" serve", "sh"]);
        nsenter.arg(serve.get_current_dir().unwrap()).arg(serve.get_program());
        in_the_place_of(serve, nsenter)
    }

    fn filler(&self) -> PathBuf {
        format!("/proc/{}/root{}/filler", self.holder.id(), self.directory.display()).into()
    }

    /// Writes until nothing more goes in.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
