//! The BLAKE3 of a file on all cores. BLAKE3 is a tree: its subtrees are hashed
//! side by side, each read on its own, and joined to the hash that reading the
//! file from its beginning to its end would give.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use super::ContentHash;
use super::files::FileError;

/// Bytes that one thread hashes at a time, a power of two. Fits in the cache of
/// one core, so that what was read is hashed before it leaves.
const PART: u64 = 256 * 1024;

/// Reads a whole file and hashes it.
///
/// # Errors
/// [`FileError`] if it cannot be read, or becomes shorter meanwhile.
pub fn hash_file(path: &Path) -> Result<ContentHash, FileError> {
    let hash = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        hash_parts(&file, length, PART)
    });
    hash.map_err(FileError::with("read", path))
}

fn hash_parts(file: &File, length: u64, part: u64) -> std::io::Result<ContentHash> {
    if length <= part {
        // Also for what has no length, such as a pipe.
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file)?;
        return Ok(ContentHash::from(*hasher.finalize().as_bytes()));
    }
    let left = left_subtree_len(length);
    let (one, other) = rayon::join(|| subtree(file, 0, left, part), || subtree(file, left, length - left, part));
    Ok(ContentHash::from(*merge_subtrees_root(&one?, &other?, Mode::Hash).as_bytes()))
}

fn subtree(file: &File, offset: u64, length: u64, part: u64) -> std::io::Result<ChainingValue> {
    if length <= part {
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset)?;
        return Ok(blake3::Hasher::new().set_input_offset(offset).update(&bytes).finalize_non_root());
    }
    let left = left_subtree_len(length);
    let (one, other) =
        rayon::join(|| subtree(file, offset, left, part), || subtree(file, offset + left, length - left, part));
    Ok(merge_subtrees_non_root(&one?, &other?, Mode::Hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::files::write_atomically;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_give_the_hash_of_the_whole(length in 0..200_000_usize, power in 0..6_u32, seed in any::<u8>()) {
            let bytes: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed).collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            write_atomically(&path, &bytes).unwrap();
            let part = 1024 << power;
            let hash = hash_parts(&File::open(&path).unwrap(), length as u64, part).unwrap();
            prop_assert_eq!(hash, ContentHash::of(&bytes));
        }
    }

    #[test]
    fn the_edges_of_a_part_are_no_exception() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 1023, 5 * PART] {
            let bytes = vec![7; length as usize];
            write_atomically(&path, &bytes).unwrap();
            assert_eq!(hash_file(&path).unwrap(), ContentHash::of(&bytes), "{length}");
        }
        assert!(hash_file(&folder.path().join("none")).unwrap_err().is_not_found());
    }

    /// `cargo test --release --lib -- --ignored --nocapture speed_of_hashing`
    #[test]
    #[ignore = "measures: hashes a file of REFRAIN_HASH_FILE, or one of 2 GB that it makes"]
    fn speed_of_hashing() {
        let folder = tempfile::tempdir().unwrap();
        let named = std::env::var_os("REFRAIN_HASH_FILE").map(std::path::PathBuf::from);
        let path = named.unwrap_or_else(|| {
            let path = folder.path().join("large");
            let bytes: Vec<u8> =
                (0..2_000_000_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
            write_atomically(&path, &bytes).unwrap();
            path
        });
        let bytes = std::fs::metadata(&path).unwrap().len();
        for _ in 0..5 {
            let start = std::time::Instant::now();
            let hash = hash_file(&path).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            println!("{} {:.3} s {:.2} GB/s", hash.short(), seconds, bytes as f64 / seconds / 1e9);
        }
    }
}
