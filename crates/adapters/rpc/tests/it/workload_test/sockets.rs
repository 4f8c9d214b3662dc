//! Sockets as files.

use std::{fs, os::unix::fs::PermissionsExt};

use rpc::unix::{Access, UnixListenError, listen};

#[tokio::test]
async fn the_mode_is_the_one_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    for (name, access, mode) in [("w", Access::Everybody, 0o777), ("k", Access::Root, 0o600)] {
        let path = folder.path().join("made").join(name);
        let _listener = listen(&path, access).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            mode
        );
    }
    let made = fs::read_dir(folder.path().join("made")).unwrap().count();
    assert_eq!(made, 2, "nothing else is left in the folder");
}

#[tokio::test]
async fn a_socket_that_is_listened_on_is_left_alone_and_a_stale_one_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    let first = listen(&path, Access::Everybody).unwrap();
    assert!(matches!(
        listen(&path, Access::Everybody),
        Err(UnixListenError::Taken { .. })
    ));
    drop(first);
    assert!(listen(&path, Access::Everybody).is_ok());
}

#[tokio::test]
async fn what_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        listen(&path, Access::Everybody),
        Err(UnixListenError::Bind { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
