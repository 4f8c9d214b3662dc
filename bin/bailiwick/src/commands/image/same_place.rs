//! Whether two names are of one place, where whoever reads the one image can read the other.

use std::path::Path;

use registry::Reference;

/// Whether what `source` names stays beside what is written as `target`: in the same repository, directory or archive.
pub(super) fn is_one_place(source: &Reference, target: &Reference) -> bool {
    match (source, target) {
        (Reference::Remote(source), Reference::Remote(target)) => {
            source.host() == target.host() && source.repository() == target.repository()
        }
        (Reference::Layout(source), Reference::Layout(target)) => {
            is_one_path(source.directory(), target.directory())
        }
        (Reference::Archive(source), Reference::Archive(target)) => {
            // An archive is written anew with the images that it keeps.
            source.tag() != target.tag() && is_one_path(source.file(), target.file())
        }
        _ => false,
    }
}

/// Whether both lead to one place; what is not there is no place.
fn is_one_path(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_and_not_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        std::fs::create_dir(at("b")).unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        std::fs::write(at("x.tar"), "").unwrap();
        let is_one = |one: &str, other: &str| {
            let fill = |name: &str| name.replace('@', &format!("{}/", folder.path().display()));
            is_one_place(&fill(one).parse().unwrap(), &fill(other).parse().unwrap())
        };
        for (one, other) in [
            ("docker://r.example/a:1", "docker://r.example/a:2"),
            ("docker://r.example/a:1", "docker://r.example/a:1"),
            ("oci:@a:1", "oci:@a:2"),
            ("oci:@a:1", "oci:@b/../a"),
            ("oci:@a:1", "oci:@link:1"),
            ("oci-archive:@x.tar:1", "oci-archive:@x.tar:2"),
        ] {
            assert!(is_one(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("docker://r.example/a:1", "docker://r.example/a/b:1"),
            ("docker://r.example/a:1", "docker://s.example/a:1"),
            ("docker://r.example/a:1", "oci:@a:1"),
            ("oci:@a:1", "oci:@b:1"),
            ("oci:@a:1", "oci:@missing:1"),
            ("oci-archive:@x.tar:1", "oci-archive:@x.tar:1"),
            ("docker-archive:@x.tar", "oci-archive:@x.tar:1"),
        ] {
            assert!(!is_one(one, other), "{one} {other}");
        }
    }
}
