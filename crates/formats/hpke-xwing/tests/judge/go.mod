module bailiwick.test/hpkejudge

go 1.26
