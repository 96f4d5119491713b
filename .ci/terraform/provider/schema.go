package main

import (
	"encoding/json"
	"os"
	"sort"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// The form of `tofu providers schema -json`, as far as schema.py writes it.
type written struct {
	Provider  resource            `json:"provider"`
	Resources map[string]resource `json:"resource_schemas"`
	Data      map[string]resource `json:"data_source_schemas"`
	Ephemeral map[string]resource `json:"ephemeral_resource_schemas"`
}

type resource struct {
	Block block `json:"block"`
}

type block struct {
	Attributes map[string]attribute `json:"attributes"`
	Blocks     map[string]nested    `json:"block_types"`
}

type attribute struct {
	Type      json.RawMessage `json:"type"`
	Required  bool            `json:"required"`
	Optional  bool            `json:"optional"`
	Computed  bool            `json:"computed"`
	WriteOnly bool            `json:"write_only"`
}

type nested struct {
	Mode  string `json:"nesting_mode"`
	Block block  `json:"block"`
	Min   int64  `json:"min_items"`
	Max   int64  `json:"max_items"`
}

type schemas struct {
	provider  *tfprotov6.Schema
	resources map[string]*tfprotov6.Schema
	data      map[string]*tfprotov6.Schema
	ephemeral map[string]*tfprotov6.Schema
}

var modes = map[string]tfprotov6.SchemaNestedBlockNestingMode{
	"single": tfprotov6.SchemaNestedBlockNestingModeSingle,
	"list":   tfprotov6.SchemaNestedBlockNestingModeList,
	"set":    tfprotov6.SchemaNestedBlockNestingModeSet,
}

func readSchema(path string) (*schemas, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var from written
	if err := json.Unmarshal(text, &from); err != nil {
		return nil, err
	}
	provider, err := from.Provider.Block.served()
	if err != nil {
		return nil, err
	}
	made := &schemas{provider: &tfprotov6.Schema{Block: provider}}
	for _, kind := range []struct {
		from map[string]resource
		to   *map[string]*tfprotov6.Schema
	}{{from.Resources, &made.resources}, {from.Data, &made.data}, {from.Ephemeral, &made.ephemeral}} {
		*kind.to = map[string]*tfprotov6.Schema{}
		for name, of := range kind.from {
			served, err := of.Block.served()
			if err != nil {
				return nil, err
			}
			(*kind.to)[name] = &tfprotov6.Schema{Block: served}
		}
	}
	return made, nil
}

func (b block) served() (*tfprotov6.SchemaBlock, error) {
	made := &tfprotov6.SchemaBlock{}
	for _, name := range sorted(b.Attributes) {
		from := b.Attributes[name]
		kind, err := tftypes.ParseJSONType(from.Type) //nolint:staticcheck // its only public reader of types
		if err != nil {
			return nil, err
		}
		made.Attributes = append(made.Attributes, &tfprotov6.SchemaAttribute{
			Name: name, Type: kind, Required: from.Required, Optional: from.Optional,
			Computed: from.Computed, WriteOnly: from.WriteOnly,
		})
	}
	for _, name := range sorted(b.Blocks) {
		from := b.Blocks[name]
		inner, err := from.Block.served()
		if err != nil {
			return nil, err
		}
		made.BlockTypes = append(made.BlockTypes, &tfprotov6.SchemaNestedBlock{
			TypeName: name, Block: inner, Nesting: modes[from.Mode], MinItems: from.Min, MaxItems: from.Max,
		})
	}
	return made, nil
}

func sorted[V any](of map[string]V) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
