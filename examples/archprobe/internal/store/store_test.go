//go:build cgo

package store

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.org/archprobe/internal/probe"
)

var added = time.Date(2024, 5, 22, 14, 30, 0, 0, time.UTC)

func report(goarch string, pageSize int, emulation string) probe.Report {
	report := probe.Report{Schema: probe.SchemaVersion}
	report.Build.GOARCH, report.System.PageSize, report.Emulation.State = goarch, pageSize, emulation
	return report
}

func TestAddAndList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?#%.db") // the name must survive as a file: URL
	opened, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []probe.Report{
		report("amd64", 4096, probe.NotDetected), report("arm64", 4096, probe.UserMode),
		report("arm64", 4096, probe.NotDetected), report("arm64", 65536, probe.NotDetected),
	} {
		if id, err := opened.Add(t.Context(), r, added); err != nil || id != int64(i+1) {
			t.Fatalf("got %d, %v; expected %d", id, err, i+1)
		}
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.db")); err != nil || len(found) != 1 || found[0] != path {
		t.Fatalf("got files %q, %v; expected %q", found, err, path)
	}
	opened, err = Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	for _, c := range []struct {
		query Query
		want  []int64
	}{
		{Query{}, []int64{1, 2, 3, 4}}, {Query{GOARCH: "arm64"}, []int64{2, 3, 4}}, {Query{PageSize: 65536}, []int64{4}},
		{Query{GOARCH: "arm64", PageSize: 4096, Native: true}, []int64{3}}, {Query{GOARCH: "' OR 1=1 --"}, []int64{}},
	} {
		got, err := opened.List(t.Context(), c.query)
		if err != nil || len(got) != len(c.want) {
			t.Fatalf("%+v: got %+v, %v; expected %v", c.query, got, err, c.want)
		}
		for i, entry := range got {
			if entry.ID != c.want[i] || !entry.Added.Equal(added) || entry.Body.Schema != probe.SchemaVersion {
				t.Errorf("%+v: got %+v, expected number %d", c.query, entry, c.want[i])
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	opened, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if _, err := opened.Add(t.Context(), probe.Report{Schema: 99}, added); err == nil {
		t.Error("got no error, expected schema 99 to be refused")
	}
	if _, err := Open(t.Context(), t.TempDir()); err == nil {
		t.Error("got no error, expected a directory to be refused")
	}
}

func TestManyWriters(t *testing.T) {
	opened, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			if _, err := opened.Add(t.Context(), report("arm64", 4096, ""), added); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if got, err := opened.List(t.Context(), Query{}); err != nil || len(got) != 8 {
		t.Errorf("got %d entries, %v; expected 8", len(got), err)
	}
}
