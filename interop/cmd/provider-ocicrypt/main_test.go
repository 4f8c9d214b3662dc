package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpensWhatItWrappedAndNothingElse(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, bytes.Repeat([]byte{7}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	provider, err := open("reference", key)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := provider.answer([]byte(`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"reference":["YQ=="]}},"optsdata":"e30="}}`))
	if err != nil {
		t.Fatal(err)
	}
	packet := strings.Split(string(wrapped), `"`)[5]
	unwrap := func(packet, parameters string) (string, error) {
		question := `{"op":"keyunwrap","keyunwrapparams":{"dc":{"Parameters":` + parameters + `},"annotation":"` + packet + `"}}`
		answer, err := provider.answer([]byte(question))
		return string(answer), err
	}
	if answer, err := unwrap(packet, "{}"); err != nil || !strings.Contains(answer, `"optsdata":"e30="`) {
		t.Fatalf("%s, %v", answer, err)
	}
	if _, err := unwrap(packet, `{"privkeys":["AQ=="]}`); err == nil {
		t.Fatal("it took somebody's private key")
	}
	for _, bad := range []string{"", "e30=", "AQ=="} {
		if _, err := unwrap(bad, "{}"); err == nil {
			t.Errorf("it opened %q", bad)
		}
	}
}
