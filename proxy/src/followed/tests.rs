//! Writers of every manner, each seen before, while and after it writes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use tokio::time::{sleep, timeout};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);
const BYTES_MAX: u64 = 1024;

/// A directory with one file, which is followed and was read once.
struct Dir {
    dir: tempfile::TempDir,
    followed: Followed,
}

impl Dir {
    async fn with(content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), content).unwrap();
        let mut all = Self {
            dir,
            followed: Followed::default(),
        };
        all.becomes(content).await;
        all
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&mut self) -> io::Result<String> {
        let file = self.path("file");
        let mut dirs = vec![self.dir.path().to_owned()];
        dirs.extend(file.canonicalize().ok().map(|path| parent(&path).to_owned()));
        self.followed.arm(std::slice::from_ref(&file), &dirs);
        let bytes = self.followed.read(&file, BYTES_MAX)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    /// Waits as whoever follows files waits, until it reads so.
    async fn becomes(&mut self, expected: &str) {
        let wait = async {
            while self.read().ok().as_deref() != Some(expected) {
                let look = self.followed.next_look(QUIET);
                let _ = timeout(look, self.followed.changed()).await;
            }
        };
        timeout(DEADLINE, wait)
            .await
            .unwrap_or_else(|_| panic!("never {expected:?}"));
    }

    /// Looks for longer than a quiet second, at every moment at which there is something to see.
    async fn stays(&mut self, expected: &str) {
        let end = Instant::now() + QUIET * 2;
        while Instant::now() < end {
            assert_eq!(self.read().unwrap(), expected);
            let _ = timeout(QUIET / 10, self.followed.changed()).await;
        }
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_read_when_its_writer_closes_it() {
    let mut dir = Dir::with("old").await;
    let mut writer = File::create(dir.path("file")).unwrap();
    dir.stays("old").await;
    writer.write_all(b"half").unwrap();
    dir.stays("old").await;
    writer.write_all(b" and half").unwrap();
    drop(writer);
    dir.becomes("half and half").await;
    let mut writer = append(&dir.path("file"));
    writer.write_all(b", again").unwrap();
    dir.stays("half and half").await;
    drop(writer);
    dir.becomes("half and half, again").await;
}

#[tokio::test]
async fn a_writer_by_another_name_of_the_file_is_seen() {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut dir = Dir::with("old").await;
    let other = elsewhere.path().join("other");
    fs::hard_link(dir.path("file"), &other).unwrap();
    dir.becomes("old").await;
    let mut writer = File::create(&other).unwrap();
    writer.write_all(b"half").unwrap();
    dir.stays("old").await;
    writer.write_all(b" and half").unwrap();
    drop(writer);
    dir.becomes("half and half").await;
}

#[tokio::test]
async fn a_file_that_is_moved_or_linked_into_place_is_read_at_once() {
    let mut dir = Dir::with("old").await;
    let at_once = Instant::now();
    fs::write(dir.path("beside"), "renamed").unwrap();
    fs::rename(dir.path("beside"), dir.path("file")).unwrap();
    assert_eq!(dir.read().unwrap(), "renamed");
    fs::remove_file(dir.path("file")).unwrap();
    assert_eq!(dir.read().unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(dir.path("beside"), "linked").unwrap();
    fs::hard_link(dir.path("beside"), dir.path("file")).unwrap();
    assert_eq!(dir.read().unwrap(), "linked");
    for version in ["1", "2"] {
        fs::create_dir(dir.path(version)).unwrap();
        fs::write(dir.path(version).join("file"), version).unwrap();
    }
    symlink("1", dir.path("..data")).unwrap();
    symlink("..data/file", dir.path("beside.new")).unwrap();
    fs::rename(dir.path("beside.new"), dir.path("file")).unwrap();
    assert_eq!(dir.read().unwrap(), "1");
    symlink("2", dir.path("..data.new")).unwrap();
    fs::rename(dir.path("..data.new"), dir.path("..data")).unwrap();
    assert_eq!(dir.read().unwrap(), "2");
    assert!(at_once.elapsed() < QUIET, "nothing was waited for");
}

#[tokio::test]
async fn a_new_file_in_place_of_one_that_was_removed_is_read_when_it_is_whole() {
    let mut dir = Dir::with("old").await;
    fs::remove_file(dir.path("file")).unwrap();
    let mut writer = File::create(dir.path("file")).unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(dir.read().unwrap(), "old");
    dir.stays("old").await;
    drop(writer);
    dir.becomes("half").await;
}

#[tokio::test]
async fn a_writer_of_one_file_keeps_nobody_from_reading_another() {
    let mut dir = Dir::with("old").await;
    let other = dir.path("other");
    fs::write(&other, "other").unwrap();
    let mut writer = append(&dir.path("file"));
    writer.write_all(b" half").unwrap();
    let files = [dir.path("file"), other.clone()];
    let dirs = [dir.dir.path().to_owned()];
    dir.followed.arm(&files, &dirs);
    assert_eq!(dir.followed.read(&files[0], BYTES_MAX).unwrap(), b"old");
    fs::write(dir.path("beside"), "new").unwrap();
    fs::rename(dir.path("beside"), &other).unwrap();
    assert_eq!(dir.followed.read(&other, BYTES_MAX).unwrap(), b"new");
    assert_eq!(dir.followed.read(&files[0], BYTES_MAX).unwrap(), b"old");
}

#[tokio::test]
async fn where_nothing_is_told_a_file_is_whole_after_a_quiet_second() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "old").unwrap();
    let mut followed = Followed::default();
    let first = Instant::now();
    let wait = async {
        while followed.read(&file, BYTES_MAX).is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap();
    assert!(first.elapsed() < QUIET, "whoever starts wants to use it");
    let mut writer = append(&file);
    for _ in 0..4 {
        writer.write_all(b" half").unwrap();
        assert!(!followed.is_unchanged());
        assert_eq!(followed.read(&file, BYTES_MAX).unwrap(), b"old");
        sleep(QUIET / 2).await;
        assert_eq!(followed.read(&file, BYTES_MAX).unwrap(), b"old");
    }
    let quiet = Instant::now();
    let wait = async {
        while followed.read(&file, BYTES_MAX).unwrap() == b"old" {
            sleep(followed.next_look(QUIET)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap();
    assert!(quiet.elapsed() >= QUIET / 4 && followed.is_unchanged());
}

#[tokio::test]
async fn a_file_that_is_held_open_is_named_after_a_while() {
    let mut dir = Dir::with("old").await;
    let mut writer = append(&dir.path("file"));
    writer.write_all(b" half").unwrap();
    dir.stays("old").await;
    assert_eq!(dir.followed.late(), None);
    tokio::time::pause();
    tokio::time::advance(LATE).await;
    let late = dir.followed.late().unwrap();
    assert!(late.contains("file is held open"), "{late}");
    drop(writer);
    dir.becomes("old half").await;
    assert_eq!(dir.followed.late(), None);
}

#[tokio::test]
async fn the_bound_is_exact_and_a_file_beyond_it_is_none() {
    let mut dir = Dir::with("four").await;
    let file = dir.path("file");
    for (bytes_max, expected) in [(4, None), (3, Some(ErrorKind::FileTooLarge))] {
        fs::write(&file, "five").unwrap();
        let read = dir.followed.read(&file, bytes_max).map_err(|error| error.kind());
        assert_eq!(read.err(), expected);
    }
}

#[test]
fn a_file_is_waited_for_at_the_start_until_nobody_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    rested(&file).unwrap();
    fs::write(&file, "new").unwrap();
    rested(&file).unwrap();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    assert!(written.elapsed().unwrap() >= FRESH);
}
