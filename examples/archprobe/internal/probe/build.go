package probe

import (
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/cpu"
)

// Build is what the Go toolchain wrote into the program.
type Build struct {
	GOOS   string `json:"goos"`
	GOARCH string `json:"goarch"`
	// LevelVariable is GOAMD64, GOARM64 and so on; empty for an architecture without levels.
	LevelVariable string            `json:"level_variable,omitempty"`
	Level         string            `json:"level,omitempty"`
	Cgo           bool              `json:"cgo"`
	Settings      map[string]string `json:"settings"`
	Modules       []Module          `json:"modules"`

	mainVersion string
}

// Module is a Go module that the linker took in.
type Module struct {
	Path     string `json:"path"`
	Version  string `json:"version"`
	Replaced string `json:"replaced,omitempty"`
}

// levelVariables has the environment variable that sets the level of each architecture.
var levelVariables = map[string]string{
	"386": "GO386", "amd64": "GOAMD64", "arm": "GOARM", "arm64": "GOARM64", "mips": "GOMIPS", "mipsle": "GOMIPS",
	"mips64": "GOMIPS64", "mips64le": "GOMIPS64", "ppc64": "GOPPC64", "ppc64le": "GOPPC64", "riscv64": "GORISCV64",
	"wasm": "GOWASM",
}

func readBuild() Build {
	build := Build{
		GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, LevelVariable: levelVariables[runtime.GOARCH],
		Settings: map[string]string{}, Modules: []Module{},
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build
	}
	for _, setting := range info.Settings {
		build.Settings[setting.Key] = setting.Value
	}
	for _, module := range info.Deps {
		build.Modules = append(build.Modules, moduleOf(module))
	}
	build.mainVersion = info.Main.Version
	build.Level = build.Settings[build.LevelVariable]
	build.Cgo = build.Settings["CGO_ENABLED"] == "1"
	return build
}

func moduleOf(module *debug.Module) Module {
	found := Module{Path: module.Path, Version: module.Version}
	if module.Replace != nil {
		found.Replaced = module.Replace.Path
	}
	return found
}

// features lists the Has… fields that are set in x/sys/cpu's structure of the architecture.
func features(goarch string) []string {
	structures := map[string]any{
		"386": cpu.X86, "amd64": cpu.X86, "arm": cpu.ARM, "arm64": cpu.ARM64, "loong64": cpu.Loong64,
		"mips64": cpu.MIPS64X, "mips64le": cpu.MIPS64X, "ppc64": cpu.PPC64, "ppc64le": cpu.PPC64,
		"riscv64": cpu.RISCV64, "s390x": cpu.S390X,
	}
	found := []string{}
	structure, ok := structures[goarch]
	if !ok {
		return found
	}
	value := reflect.ValueOf(structure)
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		if field := value.Field(i); len(name) > 3 && name[:3] == "Has" && field.Kind() == reflect.Bool && field.Bool() {
			found = append(found, name[3:])
		}
	}
	slices.Sort(found)
	return found
}
