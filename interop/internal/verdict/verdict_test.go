package verdict

import (
	"strings"
	"testing"
)

type question struct {
	Name string `json:"name"`
}

func TestOnlyWholeKnownQuestionsAreJudged(t *testing.T) {
	echo := func(question question) (string, error) { return question.Name, nil }
	if answer, err := decide(strings.NewReader(`{"name":"a"}`+"\n"), echo); err != nil || answer != "a" {
		t.Fatalf("%q, %v", answer, err)
	}
	for _, bad := range []string{``, `[]`, `{"name":1}`, `{"nam":"a"}`, `{"name":"a"}{}`, `{"name":"a"}x`} {
		if _, err := decide(strings.NewReader(bad), echo); err == nil {
			t.Errorf("%q was judged", bad)
		}
	}
}
