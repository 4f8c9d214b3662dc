// Package verdict is how every judge is asked and answers: one JSON value in, one out.
package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Main reads a question from standard input, lets judge decide, and ends the process: 0 with the answer as
// JSON on standard output, or 1 with the reason on standard error. Unknown members and
// trailing bytes are refused.
func Main[Question, Answer any](judge func(Question) (Answer, error)) {
	answer, err := decide(os.Stdin, judge)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func decide[Question, Answer any](in io.Reader, judge func(Question) (Answer, error)) (Answer, error) {
	var question Question
	var none Answer
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&question); err != nil {
		return none, fmt.Errorf("the question is not understood: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return none, errors.New("the question is followed by more")
	}
	return judge(question)
}
