//! Files that are either the old one or the new one, never half of one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

/// Prefix of temporary names, which no finished file has.
const TEMPORARY: &str = ".writing-";

/// Writes to a temporary name beside `path`, syncs, renames. Missing folders are made.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().with_context(|| format!("{} has no file name", path.display()))?;
    let temporary = folder.join(format!(
        "{TEMPORARY}{}-{:?}-{}",
        std::process::id(),
        std::thread::current().id(),
        name.to_string_lossy()
    ));
    let written = (|| {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself is on disk once the folder is. Not every system can sync a folder, and
        // without it the file is still whole.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    })();
    written.map_err(|error: std::io::Error| {
        let _ = fs::remove_file(&temporary);
        anyhow::Error::new(error).context(format!("writing {}", path.display()))
    })
}

/// Removes what killed runs left under temporary names in a folder.
pub(crate) fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// FNV-1a, 64 bits: names for files and configurations that stay the same between versions of the
/// compiler.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vector of FNV-1a for "foobar".
    #[test]
    fn fnv_vector() {
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn replaces_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.json");
        write_atomically(&path, b"first, and longer").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"x").unwrap();
        assert!(write_atomically(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"x");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
