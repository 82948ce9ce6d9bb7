//go:build cgo

// Package store keeps probe reports in a SQLite database. It needs cgo; without it the package does
// not build, rather than building into a program that fails when it is used.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"example.org/archprobe/internal/probe"
)

// schema is applied at every opening; the version lets a later one migrate.
const schema = `
CREATE TABLE IF NOT EXISTS reports (
	id        INTEGER PRIMARY KEY,
	added     TEXT NOT NULL,
	hostname  TEXT NOT NULL,
	goos      TEXT NOT NULL,
	goarch    TEXT NOT NULL,
	level     TEXT NOT NULL,
	page_size INTEGER NOT NULL,
	emulation TEXT NOT NULL,
	body      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS reports_by_machine ON reports (goarch, page_size);
PRAGMA user_version = 1;
`

// Entry is one stored report.
type Entry struct {
	ID    int64        `json:"id"`
	Added time.Time    `json:"added"`
	Body  probe.Report `json:"report"`
}

// Query selects entries. Empty fields select all.
type Query struct {
	GOARCH   string
	PageSize int
	// Native leaves out reports that saw an emulator.
	Native bool
}

// Store is an open database, safe for concurrent use.
type Store struct{ db *sql.DB }

// Open opens the database file or creates it.
func Open(ctx context.Context, path string) (*Store, error) {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_busy_timeout=5000&_journal_mode=WAL&_foreign_keys=on"}
	db, err := sql.Open("sqlite3", name.String())
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &Store{db}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// SQLiteVersion is the version of the library that is linked in.
func (s *Store) SQLiteVersion(ctx context.Context) (string, error) {
	var version string
	err := s.db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	return version, err
}

// Add stores a report and returns its number.
func (s *Store) Add(ctx context.Context, report probe.Report, added time.Time) (int64, error) {
	if report.Schema != probe.SchemaVersion {
		return 0, fmt.Errorf("got a report of schema %d, expected %d", report.Schema, probe.SchemaVersion)
	}
	body, err := json.Marshal(report)
	if err != nil {
		return 0, err
	}
	result, err := s.db.ExecContext(ctx,
		"INSERT INTO reports (added, hostname, goos, goarch, level, page_size, emulation, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		added.UTC().Format(time.RFC3339), report.System.Hostname, report.Build.GOOS, report.Build.GOARCH, report.Build.Level,
		report.System.PageSize, report.Emulation.State, string(body))
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// List returns the entries that the query selects, oldest first.
func (s *Store) List(ctx context.Context, query Query) ([]Entry, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT id, added, body FROM reports
		WHERE (?1 = '' OR goarch = ?1) AND (?2 = 0 OR page_size = ?2) AND (NOT ?3 OR emulation = ?4)
		ORDER BY id`, query.GOARCH, query.PageSize, query.Native, probe.NotDetected)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	entries := []Entry{}
	for rows.Next() {
		entry, err := scan(rows)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, rows.Err()
}

func scan(rows *sql.Rows) (Entry, error) {
	var entry Entry
	var added, body string
	if err := rows.Scan(&entry.ID, &added, &body); err != nil {
		return entry, err
	}
	when, err := time.Parse(time.RFC3339, added)
	if err != nil {
		return entry, fmt.Errorf("report %d: %w", entry.ID, err)
	}
	entry.Added = when
	if err := json.Unmarshal([]byte(body), &entry.Body); err != nil {
		return entry, fmt.Errorf("report %d: %w", entry.ID, err)
	}
	return entry, nil
}
