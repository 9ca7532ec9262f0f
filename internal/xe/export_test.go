package xe

import "strings"

// Unfit says which rows of the table of fields send messages, or show fields, that there are not.
func Unfit(known func(message string) bool) (problems []string) {
	for _, c := range classes {
		messages := []string{"get_all_records", "get_record", "get_by_uuid"}
		for _, f := range c.fields {
			if _, ok := c.api.Field(f.attribute()); !ok && (f.more == nil || f.more.value == nil) {
				problems = append(problems, c.name+" has no field "+f.attribute()+" for "+f.name)
			}
			messages = append(messages, settersOf(f)...)
		}
		for _, m := range messages {
			if !known(c.message(m)) {
				problems = append(problems, c.message(m)+" is not known")
			}
		}
		for _, name := range namesIn(c.list) {
			if _, ok := c.field(name); !ok {
				problems = append(problems, c.name+"-list shows "+name+", which is no field")
			}
		}
	}
	return problems
}

func settersOf(f field) []string {
	a := f.attribute()
	switch f.flag {
	case rw:
		return []string{"set_" + a}
	case srw:
		return []string{"set_" + a, "add_" + f.element(), "remove_" + f.element()}
	case mrw:
		return []string{"set_" + a, "add_to_" + a, "remove_from_" + a}
	}
	return nil
}

func namesIn(list string) []string { return strings.Split(list, ",") }
