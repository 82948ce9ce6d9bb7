package probe

import (
	"encoding/json"
	"os"
	"runtime"
	"testing"
)

func TestCollect(t *testing.T) {
	report := Collect("probe", "1.2.3")
	if report.Schema != SchemaVersion || report.Program != (Program{"probe", "1.2.3", runtime.Version()}) {
		t.Errorf("got program %+v", report.Program)
	}
	if report.Build.GOOS != runtime.GOOS || report.Build.GOARCH != runtime.GOARCH {
		t.Errorf("got %s/%s, expected %s/%s", report.Build.GOOS, report.Build.GOARCH, runtime.GOOS, runtime.GOARCH)
	}
	if variable := report.Build.LevelVariable; variable != "" && report.Build.Level == "" {
		t.Errorf("got no level, expected the %s that the program was built with", variable)
	}
	if report.System.PageSize != os.Getpagesize() || report.System.Sysname == "" {
		t.Errorf("got system %+v", report.System)
	}
	if report.CPU.Count != runtime.NumCPU() {
		t.Errorf("got %d CPUs, expected %d", report.CPU.Count, runtime.NumCPU())
	}
}

// Lists are never null in JSON, so that readers need no special case.
func TestListsAreNotNull(t *testing.T) {
	body, err := json.Marshal(Collect("probe", ""))
	if err != nil {
		t.Fatal(err)
	}
	var loose struct {
		Build     struct{ Modules, Settings any }
		CPU       struct{ Features any }
		Libc      struct{ Needed, Mapped any }
		Emulation struct{ Evidence any }
	}
	if err := json.Unmarshal(body, &loose); err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]any{
		"modules": loose.Build.Modules, "settings": loose.Build.Settings, "features": loose.CPU.Features,
		"needed": loose.Libc.Needed, "mapped": loose.Libc.Mapped, "evidence": loose.Emulation.Evidence,
	} {
		if list == nil {
			t.Errorf("got null for %s, expected a list", name)
		}
	}
}

func TestFeaturesOfAnUnknownArchitecture(t *testing.T) {
	if got := features("z80"); got == nil || len(got) != 0 {
		t.Errorf("got %v, expected an empty list", got)
	}
	if runtime.GOARCH == "amd64" && len(features("amd64")) == 0 {
		t.Error("got no features, expected at least SSE2")
	}
}
