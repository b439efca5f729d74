// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sections that are words: a state that is in registers
 *
 * A driver has them as arrays of u32 in a structure of its own, and a table,
 * %VFIO_MIG_WORDS, that says which is where.  In a stream they are little endian.
 */
#include <linux/cleanup.h>
#include <linux/export.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include "migration.h"

static int put(struct vfio_mig *mig, const struct vfio_mig_section_type *type,
	       const u32 *values)
{
	__le32 *words __free(kfree) = kmalloc_array(type->words, sizeof(*words),
						    GFP_KERNEL);
	unsigned int i;

	if (!words)
		return -ENOMEM;
	for (i = 0; i != type->words; i++)
		words[i] = cpu_to_le32(values[i]);
	return vfio_mig_put(mig, type->type, words, type->max);
}

/**
 * vfio_mig_put_words() - Put all sections of words into the stream
 * @mig: the device that is saved
 * @state: the driver's structure, with what they have
 *
 * Context: only from @ops->save and @ops->precopy_save.
 *
 * Return: 0 or an errno; whatever the caller makes of that, its op has failed.
 */
int vfio_mig_put_words(struct vfio_mig *mig, const void *state)
{
	const struct vfio_mig_identity *id = mig->identity;
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i != id->nr_sections; i++)
		if (id->sections[i].words)
			rc = put(mig, &id->sections[i],
				 state + id->sections[i].at);
	return rc;
}
EXPORT_SYMBOL_GPL(vfio_mig_put_words);

/**
 * vfio_mig_take_words() - Take a section of words, and have it checked
 * @mig: the device that is loaded
 * @section: of a kind that is words
 * @state: the driver's structure, where they go; one apart from the device
 *
 * For a &vfio_mig_section_type.load.
 *
 * Return: 0; or what &vfio_mig_section_type.check says.
 */
int vfio_mig_take_words(struct vfio_mig *mig,
			const struct vfio_mig_section *section, void *state)
{
	const struct vfio_mig_section_type *type;
	const __le32 *from = section->data;
	unsigned int i;
	u32 *words;

	type = mig_section_type(mig->identity, section->type);
	words = state + type->at;
	for (i = 0; i != type->words; i++)
		words[i] = get_unaligned_le32(&from[i]);
	return type->check ? type->check(words) : 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_take_words);
