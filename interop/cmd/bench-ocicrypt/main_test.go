package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestLayersComeBack(t *testing.T) {
	var answers bytes.Buffer
	err := serve([]string{"100000"}, strings.NewReader("version\nencrypt\ndecrypt\n"), &answers)
	if err != nil || strings.Count(answers.String(), "\n") != 3 || !strings.HasPrefix(answers.String(), "Go ocicrypt") {
		t.Fatalf("%v %q", err, answers.String())
	}
}

func TestAnythingElseIsRefused(t *testing.T) {
	var answers bytes.Buffer
	for _, arguments := range [][]string{{}, {"0"}, {"x"}, {"1", "2"}} {
		if serve(arguments, strings.NewReader(""), &answers) == nil {
			t.Errorf("%q was taken", arguments)
		}
	}
	if serve([]string{"10"}, strings.NewReader("neither\n"), &answers) == nil {
		t.Error("an unknown operation was taken")
	}
}
