package main

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const account = "123456789012"

var counter atomic.Int64

// A value for what an attribute of this name and type would hold.
type maker func(name string, kind tftypes.Type) tftypes.Value

// The value with every null that is computed made by make, and every null that is write-only left so.
func changed(schema *tfprotov6.Schema, from *tfprotov6.DynamicValue, make maker) (*tfprotov6.DynamicValue, error) {
	kind := schema.ValueType()
	value, err := from.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	if !value.IsNull() { // null is what will be destroyed
		if value, err = filled(schema.Block, value, make); err != nil {
			return nil, err
		}
	}
	made, err := tfprotov6.NewDynamicValue(kind, value)
	return &made, err
}

func filled(block *tfprotov6.SchemaBlock, value tftypes.Value, make maker) (tftypes.Value, error) {
	if value.IsNull() || !value.IsKnown() {
		return value, nil
	}
	fields := map[string]tftypes.Value{}
	if err := value.As(&fields); err != nil {
		return value, err
	}
	for _, of := range block.Attributes {
		if of.WriteOnly {
			fields[of.Name] = tftypes.NewValue(of.Type, nil)
		} else if of.Computed && fields[of.Name].IsNull() {
			fields[of.Name] = make(of.Name, of.Type)
		}
	}
	for _, of := range block.BlockTypes {
		inner, err := filledBlocks(of, fields[of.TypeName], make)
		if err != nil {
			return value, err
		}
		fields[of.TypeName] = inner
	}
	return tftypes.NewValue(value.Type(), fields), nil
}

func filledBlocks(of *tfprotov6.SchemaNestedBlock, value tftypes.Value, make maker) (tftypes.Value, error) {
	if value.IsNull() || !value.IsKnown() || of.Nesting == tfprotov6.SchemaNestedBlockNestingModeSingle {
		return filled(of.Block, value, make)
	}
	var elements []tftypes.Value
	if err := value.As(&elements); err != nil {
		return value, err
	}
	for i := range elements {
		inner, err := filled(of.Block, elements[i], make)
		if err != nil {
			return value, err
		}
		elements[i] = inner
	}
	return tftypes.NewValue(value.Type(), elements), nil
}

// The value with every unknown made up.
func known(schema *tfprotov6.Schema, from *tfprotov6.DynamicValue, of string) (*tfprotov6.DynamicValue, error) {
	kind := schema.ValueType()
	value, err := from.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	makeUp := madeUp(of)
	value, err = tftypes.Transform(value, func(path *tftypes.AttributePath, value tftypes.Value) (tftypes.Value, error) {
		if value.IsKnown() {
			return value, nil
		}
		return makeUp(nameAt(path), value.Type()), nil
	})
	if err != nil {
		return nil, err
	}
	made, err := tfprotov6.NewDynamicValue(kind, value)
	return &made, err
}

func nameAt(path *tftypes.AttributePath) string {
	steps := path.Steps()
	for i := len(steps) - 1; i >= 0; i-- {
		if name, ok := steps[i].(tftypes.AttributeName); ok {
			return string(name)
		}
	}
	return ""
}

// What AWS might answer, for one resource: an ARN looks like one, and no two resources have the same.
func madeUp(of string) maker {
	number := counter.Add(1)
	var make maker
	make = func(name string, kind tftypes.Type) tftypes.Value {
		switch t := kind.(type) {
		case tftypes.List:
			return tftypes.NewValue(kind, several(make, name, t.ElementType))
		case tftypes.Set:
			return tftypes.NewValue(kind, []tftypes.Value{make(name, t.ElementType)})
		case tftypes.Map:
			return tftypes.NewValue(kind, map[string]tftypes.Value{})
		case tftypes.Object:
			fields := map[string]tftypes.Value{}
			for field, inner := range t.AttributeTypes {
				fields[field] = make(field, inner)
			}
			return tftypes.NewValue(kind, fields)
		}
		switch {
		case kind.Is(tftypes.Number):
			return tftypes.NewValue(kind, number)
		case kind.Is(tftypes.Bool):
			return tftypes.NewValue(kind, false)
		case kind.Is(tftypes.String):
			return tftypes.NewValue(kind, text(of, name, number))
		}
		return tftypes.NewValue(kind, nil)
	}
	return make
}

// Three of a simple kind, as a region has three zones; one of what has fields.
func several(make maker, name string, kind tftypes.Type) []tftypes.Value {
	if !kind.Is(tftypes.String) {
		return []tftypes.Value{make(name, kind)}
	}
	made := []tftypes.Value{}
	for _, end := range "abc" {
		made = append(made, tftypes.NewValue(kind, fmt.Sprintf("%s-%c", name, end)))
	}
	return made
}

func text(of, name string, number int64) string {
	switch {
	case name == "account_id":
		return account
	case name == "partition":
		return "aws"
	case strings.HasSuffix(name, "arn"):
		return fmt.Sprintf("arn:aws:%s:eu-central-1:%s:%s-%d", strings.Split(of, "_")[1], account, name, number)
	}
	return fmt.Sprintf("%s-%s-%d", strings.ReplaceAll(strings.TrimPrefix(of, "aws_"), "_", "-"), name, number)
}
